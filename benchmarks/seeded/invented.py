"""Repos as people make them, invented: the same number always gives the same repo, whatever was made before.

Names, authors, families, licences, sizes and trees are drawn as on a public hub: few authors have many repos and many
have few; most repos are fine-tunes or quantizations of an older one. No Django here.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from random import Random

from registry import git

N_TEXTS, N_WEIGHTS = 60, 60  # different contents: every repo is made of these
AUTHORS_PER_REPO = 1 / 25
HOUSE = "house"  # the one organisation with private repos
FIRST_SECOND, SECONDS_BETWEEN = 1_640_995_200.0, 1_200.0  # from the first day of 2022

FAMILIES = {  # architecture: pipeline tag, library, licence, sizes in millions of parameters
    "llama": ("text-generation", "transformers", "llama3.1", (1_000, 3_000, 8_000, 70_000)),
    "qwen3": ("text-generation", "transformers", "apache-2.0", (600, 1_700, 4_000, 8_000, 32_000)),
    "mistral": ("text-generation", "transformers", "apache-2.0", (7_000, 24_000)),
    "gemma3": ("image-text-to-text", "transformers", "gemma", (1_000, 4_000, 12_000, 27_000)),
    "bert": ("fill-mask", "transformers", "mit", (110, 340)),
    "whisper": ("automatic-speech-recognition", "transformers", "mit", (39, 244, 1_550)),
    "sdxl": ("text-to-image", "diffusers", "openrail++", (2_600,)),
    "e5": ("sentence-similarity", "sentence-transformers", "mit", (33, 109, 335)),
    "rwkv": ("text-generation", "rwkv", "apache-2.0", (1_600, 7_000)),
    "vit": ("image-classification", "timm", "apache-2.0", (22, 86, 304)),
}  # fmt: skip
TOPICS = (
    "chat",
    "instruct",
    "code",
    "math",
    "medical",
    "legal",
    "roleplay",
    "reasoning",
    "tool-use",
    "translation",
)
LANGUAGES = ("en", "de", "fr", "zh", "ja", "es", "ar", "hi")
SYLLABLES = (
    "an",
    "bel",
    "cor",
    "dra",
    "el",
    "far",
    "gru",
    "hel",
    "ix",
    "jo",
    "kal",
    "lum",
    "mor",
    "nex",
    "or",
    "pra",
)
QUANTS = ("Q2_K", "Q3_K_M", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")


@dataclass(frozen=True)
class Content:
    """Bytes that many files have."""

    body: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @cached_property
    def git_oid(self) -> str:
        return git.git_blob_oid(self.body)

    @cached_property
    def pointer_oid(self) -> str:
        return git.lfs_pointer_oid(self.sha256, len(self.body))


@dataclass(frozen=True)
class InventedFile:
    """A path and the number of its content: a weight's if `is_lfs`, else a text's."""

    path: str
    is_lfs: bool
    content: int


TEXTS = [Content(f'{{"text": {number}}}\n'.encode() * (1 + number % 40)) for number in range(N_TEXTS)]
WEIGHTS = [Content(Random(number).randbytes(256 + number)) for number in range(N_WEIGHTS)]


@dataclass(frozen=True)
class InventedRepo:
    """One repo, and what its only commit holds."""

    number: int
    namespace: str
    name: str
    is_dataset: bool
    private: bool
    gated: str
    family: str
    millions: int
    topic: str
    language: str
    parent: int | None
    relation: str

    @property
    def repo_id(self) -> str:
        return f"{self.namespace}/{self.name}"

    @cached_property
    def files(self) -> list[InventedFile]:
        """By the bytes of their paths, as trees want them."""
        return list(_files(Random(f"files {self.number}"), self.is_dataset, self.relation))

    @property
    def made_at(self) -> float:
        return FIRST_SECOND + self.number * SECONDS_BETWEEN

    @property
    def license(self) -> str:
        return "cc-by-4.0" if self.is_dataset else FAMILIES[self.family][2]

    @property
    def tags(self) -> list[str]:
        return [self.topic, self.family, *(["gguf"] if self.relation == "quantized" else [])]

    def card(self, parent: str | None) -> dict[str, object]:
        """The front matter of its README."""
        card: dict[str, object] = {"license": self.license, "language": [self.language], "tags": self.tags}
        if not self.is_dataset:
            card |= {"pipeline_tag": FAMILIES[self.family][0], "library_name": FAMILIES[self.family][1]}
        return card | ({"base_model": parent} if parent else {})


def invent(number: int) -> InventedRepo:
    """That repo."""
    draw = Random(f"repo {number}")
    is_dataset = draw.random() < 0.1
    family = draw.choice(list(FAMILIES))
    millions, topic = draw.choice(FAMILIES[family][3]), draw.choice(TOPICS)
    parent = draw.randrange(number) if number and not is_dataset and draw.random() < 0.6 else None
    relation = draw.choice(("finetune", "finetune", "quantized", "adapter")) if parent is not None else ""
    private = draw.random() < 0.02
    size = f"{millions / 1000:g}B" if millions >= 1000 else f"{millions}M"
    kind = "data" if is_dataset else {"quantized": "GGUF", "adapter": "lora"}.get(relation, "v1")
    return InventedRepo(
        number=number, namespace=HOUSE if private else _author(draw, number),
        name=f"{family}-{size}-{topic}-{kind}-{number}",
        is_dataset=is_dataset, private=private, gated="manual" if draw.random() < 0.03 else "",
        family=family, millions=millions, topic=topic, language=draw.choice(LANGUAGES), parent=parent,
        relation=relation,
    )  # fmt: skip


def commit_of(repo: InventedRepo) -> tuple[str, bytes]:
    """(hash, git object) of its commit, as git itself computes them."""
    oids = ((file.path, oid_of(file)) for file in repo.files)
    *_, root = git.trees(oids)
    author = git.Signature(
        repo.namespace, f"{repo.namespace}@example.org", datetime.fromtimestamp(repo.made_at, tz=UTC)
    )
    body = git.commit_object(root.oid, author=author, message="Add files")
    return git.commit_object_oid(body), body


def content_of(file: InventedFile) -> Content:
    return (WEIGHTS if file.is_lfs else TEXTS)[file.content]


def oid_of(file: InventedFile) -> str:
    content = content_of(file)
    return content.pointer_oid if file.is_lfs else content.git_oid


def _author(draw: Random, number: int) -> str:
    """Of so many as a hub of that age has; the cube favours the first."""
    rank = int((number * AUTHORS_PER_REPO + 3) * draw.random() ** 3)
    name = Random(f"author {rank}")
    return "".join(name.choices(SYLLABLES, k=3)) + f"-{rank}"


def _files(draw: Random, is_dataset: bool, relation: str) -> Iterator[InventedFile]:
    paths = dict.fromkeys((".gitattributes", "README.md"), False)
    if is_dataset:
        paths |= {
            f"data/{split}-{part:05d}.parquet": True
            for split in ("test", "train")
            for part in range(_few(draw))
        }
    elif relation == "quantized":
        paths |= {f"model-{quant}.gguf": True for quant in draw.sample(QUANTS, k=draw.randrange(3, 8))}
    else:
        paths |= _checkpoint(draw, relation)
    for path in sorted(paths):
        yield InventedFile(path, paths[path], draw.randrange(N_WEIGHTS if paths[path] else N_TEXTS))


def _checkpoint(draw: Random, relation: str) -> dict[str, bool]:
    texts = [
        "config.json",
        "generation_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    paths = dict.fromkeys(texts, False)
    if relation == "adapter":
        return paths | {"adapter_config.json": False, "adapter_model.safetensors": True}
    shards = _few(draw)
    paths |= {f"model-{part + 1:05d}-of-{shards:05d}.safetensors": True for part in range(shards)}
    if draw.random() < 0.2:
        paths |= {"onnx/model.onnx": True, "onnx/model_quantized.onnx": True, "onnx/config.json": False}
    for step in range(500, 500 * draw.choice((1, 1, 1, 1, 3)), 500):
        folder = f"checkpoints/checkpoint-{step}"
        paths |= {
            f"{folder}/optimizer.pt": True,
            f"{folder}/model.safetensors": True,
            f"{folder}/state.json": False,
        }
    return paths


def _few(draw: Random) -> int:
    """1 to 18, mostly small."""
    return 1 + int(18 * draw.random() ** 4)
