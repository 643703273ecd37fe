"""Splitting a GGUF into parts, and merging parts into one: planned to the byte before any tensor is read.

A split model has the bytes that llama-gguf-split writes, its order of keys included. A merged one has the bytes that
the file had before it was split; llama-gguf-split leaves `split.no`, `split.tensors.count` and a `split.count` of 0 in
its metadata, which `keep_split_keys` does, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from conversion.formats.gguf.types import ValueType
from conversion.formats.gguf.weights import (
    MAX_SPLITS,
    SPLIT_COUNT,
    SPLIT_KEYS,
    SPLIT_NUMBER,
    SPLIT_TENSORS,
    GgufWeights,
    split_path,
)
from conversion.formats.gguf.writer import (
    DEFAULT_ALIGNMENT,
    GgufLayout,
    Value,
    int32,
    padded,
    plan_file,
    tensor_bytes,
)
from conversion.formats.layout import stream_file

COPY_BYTES = 8 * 1024 * 1024
"""Tensors are copied in pieces of this size."""

Planned = tuple[str, Sequence[int], str]
"""(name, row-major shape, ggml type name), as `plan_file` takes it."""


@dataclass(frozen=True)
class SplitLayout:
    """The parts of a model: name -> layout, in order."""

    parts: Mapping[str, GgufLayout]

    @property
    def size_bytes(self) -> int:
        return sum(layout.size_bytes for layout in self.parts.values())


def plan_split(
    metadata: Mapping[str, Value],
    tensors: Sequence[Planned],
    stem: str,
    *,
    max_bytes: int = 0,
    max_tensors: int = 0,
    no_tensor_first: bool = False,
    alignment: int = DEFAULT_ALIGNMENT,
) -> SplitLayout:
    """The parts `STEM-00001-of-0000N.gguf` of a file with this metadata and these tensors.

    A part ends before the tensor that would take its data beyond `max_bytes`, or after `max_tensors`; give one of the
    two. A tensor larger than `max_bytes` has a part of its own. Raises ValueError for more parts than can be numbered.
    """
    if (max_bytes > 0) == (max_tensors > 0):
        raise ValueError("give max_bytes or max_tensors, one of them and more than 0")
    groups = _grouped(tensors, max_bytes, max_tensors)
    if no_tensor_first:
        groups.insert(0, [])
    if len(groups) > MAX_SPLITS:
        raise ValueError(f"{len(groups)} parts; at most {MAX_SPLITS} can be numbered")
    parts: dict[str, GgufLayout] = {}
    for number, group in enumerate(groups):
        said = split_keys(number, len(groups), len(tensors))
        whole = {key: value for key, value in metadata.items() if key not in said} if number == 0 else {}
        parts[split_path(stem, number, len(groups))] = plan_file(
            whole | said, group, alignment=alignment if number == 0 else DEFAULT_ALIGNMENT
        )
    return SplitLayout(parts)


def plan_merge(weights: GgufWeights, *, keep_split_keys: bool = False) -> GgufLayout:
    """The one file that holds what the parts hold, tensors in the order of the parts."""
    metadata = {key: value for key, value in weights.read_metadata().items() if key not in SPLIT_KEYS}
    if keep_split_keys:
        metadata |= split_keys(0, 0, len(weights.entries))
    tensors = [(entry.name, entry.shape, entry.dtype) for entry in weights.entries.values()]
    return plan_file(metadata, tensors, alignment=weights.alignment)


def copied(weights: GgufWeights, layout: GgufLayout) -> Iterator[bytes]:
    """The planned file, its tensors copied from these weights piece by piece; nothing is converted."""
    return stream_file(layout, ((entry.name, _pieces(weights, entry.name)) for entry in layout.entries))


def split_keys(number: int, count: int, n_tensors: int) -> dict[str, Value]:
    """The three keys in the order and with the types that llama-gguf-split writes."""
    return {
        SPLIT_NUMBER: Value(ValueType.UINT16, number),
        SPLIT_TENSORS: int32(n_tensors),
        SPLIT_COUNT: Value(ValueType.UINT16, count),
    }


def _grouped(tensors: Sequence[Planned], max_bytes: int, max_tensors: int) -> list[list[Planned]]:
    groups: list[list[Planned]] = [[]]
    size = 0
    for tensor in tensors:
        length = padded(tensor_bytes(*tensor), DEFAULT_ALIGNMENT)
        is_full = size + length > max_bytes if max_bytes else len(groups[-1]) == max_tensors
        if is_full and groups[-1]:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += length
    return groups


def _pieces(weights: GgufWeights, name: str) -> Iterator[bytes]:
    length = weights.entries[name].length
    for start in range(0, length, COPY_BYTES):
        yield weights.read_bytes(name, start, min(COPY_BYTES, length - start))
