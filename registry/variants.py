"""The variants of a repo: what `org/name:Q4_K_M` may mean, and which files that is.

A variant is one GGUF model of the commit itself, the safetensors checkpoint of the commit, or an artifact that was
made here from exactly this commit, passed its test inference and was published. Files that a stranger claims to
have made from it are not: the name before the colon must vouch for the bytes.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from django.db.models import Q

from registry.gates import DEFAULT, UNKNOWN, Standing, read_gates, standing_json, standings
from registry.models import Artifact, Commit, File, Gate, Repo

SAFETENSORS = "safetensors"
# What stays out of `:safetensors`: the same weights in another form.
OTHER_WEIGHTS = {
    ".gguf",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".onnx",
    ".ot",
    ".tflite",
    ".pdparams",
}
_TYPE = re.compile(
    r"(?:^|[-._/])((?:IQ|TQ|Q)\d(?:_[0-9A-Z]+)*|BF16|F16|F32|MXFP4|NVFP4)(?=$|[-._/])", re.IGNORECASE
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_NO_MODEL = re.compile(r"(?:^|/)(?:mmproj|imatrix|mtp-)[^/]*$", re.IGNORECASE)


@dataclass(frozen=True)
class Variant:
    """One way to have the weights of a repo: in which commit of which repo its files are.

    `standing` is what is held to be true of the file at `path`, `gate` decides on the repo that holds it.
    """

    name: str
    repo_id: str
    commit_hash: str
    files: list[File] = field(repr=False)
    standing: Standing = UNKNOWN
    gate: Gate = DEFAULT

    @property
    def verdict(self) -> str | None:
        """The verdict that counts; None while there is none."""
        return None if self.standing == UNKNOWN else self.standing.verdict

    @property
    def trust(self) -> dict[str, Any]:
        """The verdict, whether the gate lets a client pull it without being asked, and an operator's decision."""
        return {"verdict": self.verdict} | standing_json(self.standing, self.gate)

    @property
    def path(self) -> str:
        """The file to name; of a checkpoint, or of shards, the first one with weights."""
        weights = [
            file.path for file in self.files if PurePosixPath(file.path).suffix in (".gguf", ".safetensors")
        ]
        return (weights or [file.path for file in self.files] or [""])[0]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def variants_of(repo: Repo, commit: Commit) -> list[Variant]:
    """Every variant of the commit, its own files first, each name once. Six queries, whatever the number.

    Whoever may see the repo may see what is returned: artifacts in a repo with narrower access are left out.
    """
    own = own_variants(repo, commit)
    taken = {variant.name.lower() for variant in own}
    made = [variant for variant in _published(repo, commit) if variant.name.lower() not in taken]
    return _with_standings(own + made)


def own_variants(repo: Repo, commit: Commit) -> list[Variant]:
    """The models among the commit's own files, without what is held of them. One query."""
    files = list(File.objects.filter(commit=commit).select_related("blob", "commit__repo").order_by("path"))
    return [*_checkpoint(repo, commit, files), *_gguf_models(repo, commit, files)]


def _with_standings(variants: list[Variant]) -> list[Variant]:
    main = [main_file(variant).blob_id for variant in variants]
    held, gates = standings(blob for blob in main if blob), read_gates()
    return [
        replace(
            variant, standing=held.get(blob, UNKNOWN) if blob else UNKNOWN, gate=gates.of(variant.repo_id)
        )
        for variant, blob in zip(variants, main, strict=True)
    ]


def main_file(variant: Variant) -> File:
    """The file whose bytes a verdict is on: the only one, or the first with weights."""
    return next(file for file in variant.files if file.path == variant.path)


def find_variant(variants: Iterable[Variant], name: str) -> Variant | None:
    """The variant of that name, whatever the case of its letters."""
    return next((variant for variant in variants if variant.name.lower() == name.lower()), None)


def _checkpoint(repo: Repo, commit: Commit, files: list[File]) -> list[Variant]:
    if not any(PurePosixPath(file.path).suffix == ".safetensors" for file in files):
        return []
    kept = [file for file in files if PurePosixPath(file.path).suffix not in OTHER_WEIGHTS]
    return [Variant(SAFETENSORS, repo.repo_id, commit.commit_hash, kept)]


def _gguf_models(repo: Repo, commit: Commit, files: list[File]) -> list[Variant]:
    """One a model: shards of one model are one variant."""
    models: dict[str, list[File]] = {}
    for file in files:
        path = PurePosixPath(file.path)
        if path.suffix == ".gguf" and not _NO_MODEL.search(file.path):
            models.setdefault(_SHARD.sub("", str(path.with_suffix(""))), []).append(file)
    names = {stem: type_in(stem) for stem in models}
    count = Counter(name.lower() for name in names.values())
    return [
        Variant(
            names[stem] if count[names[stem].lower()] == 1 else stem, repo.repo_id, commit.commit_hash, shards
        )
        for stem, shards in models.items()
    ]


def type_in(stem: str) -> str:
    """The quantization type that a path without suffix ends in, as ggml spells it; its last part if it tells none."""
    found = _TYPE.findall(stem)
    return found[-1].upper() if found else PurePosixPath(stem).name


def _published(repo: Repo, commit: Commit) -> list[Variant]:
    published = Artifact.objects.filter(
        source=commit, state=Artifact.State.PUBLISHED, published_in__isnull=False
    )
    artifacts = published.select_related("recipe", "published_in__repo")
    seen = [
        artifact for artifact in artifacts.order_by("recipe__name", "pk") if _is_as_visible(artifact, repo)
    ]
    which = Q(path__in=[artifact.path for artifact in seen])
    for folder in {_folder(artifact) for artifact in seen} - {""}:
        which |= Q(path__startswith=folder)
    files: dict[int, list[File]] = {}
    commits = [artifact.published_in_id for artifact in seen]
    for file in File.objects.filter(which, commit__in=commits).select_related("blob").order_by("path"):
        files.setdefault(file.commit_id, []).append(file)
    found = [_variant(artifact, files.get(artifact.published_in_id or 0, [])) for artifact in seen]
    return [variant for variant in found if variant.files]


def _folder(artifact: Artifact) -> str:
    """Where a checkpoint lies with its config and tokenizer; "" for a file that is complete by itself."""
    folder, is_within, _ = artifact.path.rpartition("/")
    return folder + is_within


def _is_as_visible(artifact: Artifact, repo: Repo) -> bool:
    assert artifact.published_in is not None  # noqa: S101  # the query asked for it
    home = artifact.published_in.repo
    return not home.private or (repo.private and home.organisation_id == repo.organisation_id)


def _variant(artifact: Artifact, files: list[File]) -> Variant:
    """`files` are those of the commit that publishes it, of this and of other artifacts."""
    assert artifact.published_in is not None  # noqa: S101  # the query asked for it
    home, folder = artifact.published_in, _folder(artifact)
    own = [file for file in files if file.path == artifact.path or (folder and file.path.startswith(folder))]
    return Variant(artifact.recipe.name, home.repo.repo_id, home.commit_hash, own)
