"""What an artifact is, said by its headers and its config alone: nothing is run, no weight is read.

| kind | what it is | how it is judged |
|---|---|---|
| adapter | a LoRA adapter, of PEFT or in a GGUF | what it adds, and its base with it |
| embedding | a model that makes vectors of texts, or scores of pairs | sentences, against its parent |
| onnx | a network in ONNX, for any purpose | run on made-up inputs, against its parent |
| decoder | a language model that predicts the next token | windows of text, against its parent |
| tensors | anything else with weights | its tensors only |

A kind is one line in `CLAIMS`, asked in that order, and one module in kinds/. A path is a file (of a split GGUF the
first) or the folder of a checkpoint.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conversion.formats.gguf import GgufHeader
from conversion.formats.gguf.weights import GgufWeights, open_gguf
from conversion.formats.lora_folder import is_adapter
from conversion.formats.onnx import SNIFF_BYTES, files_beside, is_onnx, open_onnx, read_model
from conversion.formats.opening import INDEX_SUFFIXES, SAFETENSORS, SUFFIXES, kind_of, open_weights
from conversion.formats.packed import SCHEMES, unpack
from conversion.formats.source import ByteSource, FileSource
from conversion.formats.weights import Weights
from conversion.naming.bert import BERT
from conversion.naming.nomic_bert import NOMIC_BERT
from conversion.naming.plan import read_config
from conversion.naming.xlm_roberta import XLM_ROBERTA

GGUF, ONNX = "GGUF", "ONNX"
SHARD = re.compile(r"(.*)-\d{5,}-of-\d{5,}(\.[a-z]+)")
ENCODERS = frozenset({
    "bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert", "nomic-bert",
    "nomic-bert-moe",
})  # fmt: skip
"""Architectures of llama.cpp that make vectors and nothing else."""

ENCODER_CLASSES = frozenset(
    name for family in (BERT, XLM_ROBERTA, NOMIC_BERT) for name in family.architectures
)
CAUSAL = ("ForCausalLM", "LMHeadModel")
"""How transformers ends the names of architectures that predict the next token."""


@dataclass(frozen=True)
class Subject:
    """What is judged. `container` is GGUF, safetensors, …; `architecture` as the container spells it, may be empty."""

    kind: str
    container: str
    architecture: str

    def as_json(self) -> dict[str, str]:
        return vars(self).copy()


@dataclass(frozen=True)
class Look:
    """Everything that can be known of an artifact without running it. `weights` stay readable while it is open."""

    path: Path
    container: str
    architecture: str
    weights: Weights
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_packed(self) -> bool:
        """Whether several stored tensors make up one weight, in a way that we can unpack (GPTQ, AWQ, FP8, …)."""
        scheme = self.config.get("quantization_config")
        return isinstance(scheme, Mapping) and str(scheme.get("quant_method")) in SCHEMES

    @property
    def is_rescaled(self) -> bool:
        """Whether whoever packed it may have moved scales from one tensor to another, which changes nothing together:
        AWQ, and what llm-compressor does before it packs (SmoothQuant, AWQ, rotations)."""
        scheme = self.config.get("quantization_config")
        return isinstance(scheme, Mapping) and scheme.get("quant_method") in ("awq", "compressed-tensors")

    @property
    def plain(self) -> Weights:
        """The weights; of a packed checkpoint those that it stands for, computed as they are read. HeaderError."""
        return unpack(self.weights, self.config) if self.is_packed else self.weights

    @property
    def header(self) -> GgufHeader | None:
        """The first file's, of a GGUF."""
        return self.weights.header if isinstance(self.weights, GgufWeights) else None


def recognise(path: Path) -> Subject:
    """The subject at `path`. Raises HeaderError for headers, NamingError for a config that cannot be read."""
    with ExitStack() as stack:
        return subject_of(look_at(path, stack))


def subject_of(look: Look) -> Subject:
    kind = next(kind for kind, claims in CLAIMS.items() if claims(look))
    return Subject(kind, look.container, look.architecture)


def look_at(path: Path, stack: ExitStack) -> Look:
    """Headers and config of the artifact at `path`; its files stay open until the stack ends. Raises as `recognise`."""
    if (file := _onnx_file(path)) is not None:
        return _look_at_onnx(file, stack)
    sources: dict[str, ByteSource] = {
        file.name: stack.enter_context(FileSource(file)) for file in _files_of(path)
    }
    if path.suffix == ".gguf":
        weights: Weights = open_gguf(sources)
    else:
        weights = open_weights(sources)
    config = read_config(path) if (path / "config.json").is_file() else {}
    if isinstance(weights, GgufWeights):
        return Look(path, GGUF, str(weights.header.get("general.architecture", "")), weights, config)
    read = next(iter(getattr(weights, "paths", ())), path.name)
    container = kind_of(read, sources[read]) if read in sources else None
    return Look(path, container or SAFETENSORS, _architecture(config), weights, config)


def _onnx_file(path: Path) -> Path | None:
    """The ONNX file that is meant: the path itself, or the only one in a folder without other weights."""
    if path.is_dir():
        found = sorted(path.glob("*.onnx"))
        return found[0] if len(found) == 1 and not _files_of(path) else None
    if path.suffix in (".gguf", ".safetensors"):
        return None
    with path.open("rb") as file:
        head = file.read(SNIFF_BYTES)
    return path if path.suffix == ".onnx" or is_onnx(head) else None


def _look_at_onnx(path: Path, stack: ExitStack) -> Look:
    """With the further files that it names; none of them can be outside its folder."""
    sources: dict[str, ByteSource] = {path.name: stack.enter_context(FileSource(path))}
    for location, file in files_beside(path, read_model(sources[path.name])).items():
        sources[location] = stack.enter_context(FileSource(file))
    weights = open_onnx(path.name, sources)
    return Look(path, ONNX, "", weights)


def _files_of(path: Path) -> list[Path]:
    """The files of a folder that may hold weights; of a shard, all the shards; else the file itself."""
    if path.is_dir():
        known = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        return sorted(
            file
            for file in path.iterdir()
            if file.is_file() and file.name.endswith((*known, *INDEX_SUFFIXES))
        )
    match = SHARD.fullmatch(path.name)
    if match is None:
        return [path]
    return sorted(path.parent.glob(f"{match[1]}-*-of-*{match[2]}"))


def _architecture(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    return str(named[0])[:200] if isinstance(named, list) and named else ""


def _is_decoder(look: Look) -> bool:
    """It has a tokenizer and layers (GGUF), or says that it predicts the next token (config.json)."""
    if look.header is not None:
        is_model = look.header.get("general.type", "model") == "model"
        return is_model and look.architecture != "clip" and bool(look.weights.entries)
    return look.container == SAFETENSORS and look.path.is_dir() and look.architecture.endswith(CAUSAL)


def _is_adapter(look: Look) -> bool:
    if look.header is not None:
        return bool(look.header.get("general.type") == "adapter")
    return is_adapter(look.path if look.path.is_dir() else look.path.parent)


def _is_embedding(look: Look) -> bool:
    """It says how vectors are pooled, or it is of a family that makes nothing else."""
    if look.header is not None:
        pools = look.header.get(f"{look.architecture}.pooling_type", 0)
        return look.architecture in ENCODERS or pools != 0
    is_folder = look.container == SAFETENSORS and look.path.is_dir()
    return is_folder and (look.architecture in ENCODER_CLASSES or (look.path / "modules.json").is_file())


CLAIMS: dict[str, Callable[[Look], bool]] = {
    "adapter": _is_adapter,
    "onnx": lambda look: look.container == ONNX,
    "embedding": _is_embedding,
    "decoder": _is_decoder,
    "tensors": lambda look: True,
}
"""Kind -> whether it is that. The first that says yes; the last says it always."""
