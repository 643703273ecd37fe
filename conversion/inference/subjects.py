"""What an artifact is, said by its headers and its config alone: nothing is run, no weight is read.

| kind | what it is | how it is judged |
|---|---|---|
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
from conversion.formats.opening import INDEX_SUFFIXES, SAFETENSORS, SUFFIXES, kind_of, open_weights
from conversion.formats.source import ByteSource, FileSource
from conversion.formats.weights import Weights
from conversion.naming.plan import read_config

GGUF = "GGUF"
SHARD = re.compile(r"(.*)-\d{5,}-of-\d{5,}(\.[a-z]+)")
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


CLAIMS: dict[str, Callable[[Look], bool]] = {
    "decoder": _is_decoder,
    "tensors": lambda look: True,
}
"""Kind -> whether it is that. The first that says yes; the last says it always."""
