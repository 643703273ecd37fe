"""One door for weights of any container: a folder's files in, one `Weights` out.

What a file is, its first bytes say; its name only where they say nothing. Where a folder holds several containers the
first of safetensors, GGUF, PyTorch, llama2.c is opened: the same order in which loaders prefer them.
"""

import re
from collections.abc import Callable, Mapping

from conversion.formats import pytorch
from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.errors import HeaderError, quoted
from conversion.formats.gguf.weights import open_gguf
from conversion.formats.llama2c import is_llama2c, open_llama2c
from conversion.formats.onnx import is_onnx
from conversion.formats.source import ByteSource
from conversion.formats.weights import Weights

SAFETENSORS, GGUF, PYTORCH, LLAMA2C = "safetensors", "GGUF", "PyTorch", "llama2.c"

OPENERS: dict[str, Callable[[Mapping[str, ByteSource]], Weights]] = {
    SAFETENSORS: open_checkpoint,
    GGUF: open_gguf,
    PYTORCH: pytorch.open_pytorch,
    LLAMA2C: open_llama2c,
}
"""In the order of preference."""

SUFFIXES: dict[str, tuple[str, ...]] = {
    SAFETENSORS: (".safetensors",),
    GGUF: (".gguf",),
    PYTORCH: (".bin", ".pt", ".pth", ".ckpt"),
    LLAMA2C: (".bin",),
}
INDEX_SUFFIXES = (".safetensors.index.json", ".bin.index.json")
NOT_WEIGHTS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"<!DOCTYPE": "an HTML page",
    b"<html": "an HTML page",
    b"\x89HDF": "HDF5 (Keras, TensorFlow)",
}
MAX_SHOWN = 8
SHARD_NUMBER = re.compile(r"(?<=-)\d{5}(?=-of-\d{5}\.)")


def kind_of(path: str, source: ByteSource) -> str | None:
    """The container of a file, by its first bytes, and else by a name that can mean nothing else; None if unknown.

    Costs one small read.
    """
    head = source.read(0, min(pytorch.SNIFF_BYTES, source.size_bytes))
    if head.startswith(b"GGUF"):
        return GGUF
    if pytorch.is_pytorch(head):
        return PYTORCH
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= source.size_bytes - 8:
        return SAFETENSORS
    if is_llama2c(source, head):
        return LLAMA2C
    if _known_otherwise(head):
        return None
    return next((kind for kind in (SAFETENSORS, GGUF) if path.endswith(SUFFIXES[kind])), None)


def open_weights(sources: Mapping[str, ByteSource]) -> Weights:
    """The weights among the files of one folder (path -> source; folders within are ignored), whatever contains them.

    Raises HeaderError: `ck-empty` lists what was found where there are none; else what the container's reader raises.
    """
    likely = {path: source for path, source in sources.items() if _may_hold_weights(path)}
    kinds = _kinds(likely)
    chosen = next((kind for kind in OPENERS if kind in kinds.values()), None) or _meant(sources, likely)
    if chosen is None:
        raise HeaderError("ck-empty", f"no file here holds weights: {_listed(sources)}")
    return OPENERS[chosen](_belonging(sources, kinds, chosen))


def _kinds(likely: Mapping[str, ByteSource]) -> dict[str, str | None]:
    """Path -> container. Of the shards of one checkpoint only the first is looked at; the reader sees the others."""
    seen: dict[str, str | None] = {}
    kinds: dict[str, str | None] = {}
    for path in sorted(likely):
        name = SHARD_NUMBER.sub("", path)
        if name not in seen:
            seen[name] = kind_of(path, likely[path])
        kinds[path] = seen[name]
    return kinds


def _may_hold_weights(path: str) -> bool:
    """Not in a folder within, and not a file whose name says that it is text."""
    known = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    return "/" not in path and ("." not in path or path.endswith((*known, ".dat")))


def _meant(sources: Mapping[str, ByteSource], likely: Mapping[str, ByteSource]) -> str | None:
    """The container that an index or a name stands for where no file has it: its reader says what is wrong."""
    for kind, index_suffix in zip((SAFETENSORS, PYTORCH), INDEX_SUFFIXES, strict=True):
        if any(path.endswith(index_suffix) for path in sources):
            return kind
    named = [source for path, source in likely.items() if path.endswith(SUFFIXES[PYTORCH])]
    is_broken = any(not _known_otherwise(source.read(0, min(32, source.size_bytes))) for source in named)
    return PYTORCH if is_broken else None


def _belonging(
    sources: Mapping[str, ByteSource], kinds: Mapping[str, str | None], chosen: str
) -> dict[str, ByteSource]:
    """The files of one kind, under a name with an ending of that kind, and what its reader looks for beside them."""
    belonging: dict[str, ByteSource] = {}
    for path, source in sources.items():
        suffixes = SUFFIXES[chosen]
        if path in kinds and kinds[path] == chosen:
            belonging[path if path.endswith(suffixes) else path + suffixes[0]] = source
        elif path.endswith(INDEX_SUFFIXES) or (path in kinds and not kinds[path] and path.endswith(suffixes)):
            belonging[path] = source
    return belonging


def _known_otherwise(head: bytes) -> str | None:
    named = next((what for magic, what in NOT_WEIGHTS.items() if head.startswith(magic)), None)
    return named or ("ONNX" if is_onnx(head) else None)


def _listed(sources: Mapping[str, ByteSource]) -> str:
    if not sources:
        return "the folder is empty"
    shown = [f"{quoted(path)} ({_described(source)})" for path, source in sorted(sources.items())[:MAX_SHOWN]]
    more = f", and {len(sources) - MAX_SHOWN} more" if len(sources) > MAX_SHOWN else ""
    return ", ".join(shown) + more


def _described(source: ByteSource) -> str:
    return _known_otherwise(source.read(0, min(32, source.size_bytes))) or f"{source.size_bytes} bytes"
