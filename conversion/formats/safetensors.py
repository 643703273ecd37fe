"""Safetensors: a strict header reader by range reads, and a writer whose layout is settled before any data.

Layout of a file:

| bytes | what |
|---|---|
| uint64, little-endian | n, the length of the header |
| n bytes | JSON object, UTF-8, starting with `{`, optionally padded with spaces |
| the rest | tensor data, tiled without gap or overlap by the tensors' `data_offsets` |

Each key is a tensor name with `{"dtype": "BF16", "shape": [rows, columns], "data_offsets": [begin, end]}`, offsets
counted from the first byte after the header; `__metadata__` may hold a flat object of strings. The format is described
in the README of the safetensors library. We accept what its reader accepts, and refuse more: duplicate keys, unknown
fields, headers that would make a parser allocate far beyond their size.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.layout import FileLayout, TensorEntry
from conversion.formats.source import ByteSource, read_exactly
from conversion.formats.strict_json import JsonWalker

MAX_HEADER_BYTES = 100_000_000
"""The limit of the reference implementation."""

MAX_TENSORS = 500_000
"""Several times the largest checkpoint known; keeps our memory under half a gigabyte for any header."""

MAX_METADATA_KEYS = 65_536
MAX_NAME_CHARACTERS = 500
MAX_DIMENSIONS = 32
MAX_ELEMENTS = 2**63 - 1
HEADER_ALIGNMENT = 8
"""The writer pads the header with spaces so that data starts at a multiple of 8, as the reference does."""

DTYPE_BITS: dict[str, int] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
"""Bits per element of every dtype of safetensors 0.8; a new dtype is one line here."""

_FIELDS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """The tensors of a file in the order of their data, and the strings of `__metadata__`."""

    entries: tuple[TensorEntry, ...]
    metadata: dict[str, str]
    data_start: int


def read_header(source: ByteSource) -> SafetensorsHeader:
    """The header of a safetensors file, checked against the file's size, or HeaderError. Two range reads, no more."""
    head = read_exactly(
        source, 0, min(9, max(8, source.size_bytes)), code="st-truncated", what="the header length"
    )
    length = int.from_bytes(head[:8], "little")
    _check_length(length, source.size_bytes)
    if head[8:] != b"{":
        raise HeaderError("st-start", f"the header starts with {quoted(head[8:])}, not with '{{'")
    data_start = 8 + length
    # The bytes are given away, not kept: a header of 100 MB is in memory once.
    walker = JsonWalker(read_exactly(source, 8, length, code="st-truncated", what="the header"), "st")
    entries, metadata = _read_tensors(walker, data_start)
    entries.sort(key=lambda entry: (entry.start, entry.end))
    _check_tiling(entries, data_start, source.size_bytes)
    return SafetensorsHeader(tuple(entries), metadata, data_start)


def plan_file(
    tensors: Iterable[tuple[str, Sequence[int], str]], metadata: Mapping[str, str] | None = None
) -> FileLayout:
    """The complete layout of a file holding `tensors`, given as (name, shape, dtype), data in the order given.

    The same input always gives the same bytes; write it with `layout.stream_file`. Raises ValueError for a doubled
    name, an unknown dtype, or a shape whose bits do not fill whole bytes.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    places: list[tuple[str, str, tuple[int, ...], int, int]] = []
    end = 0
    for name, shape, dtype in tensors:
        if name in header or name == "__metadata__":
            raise ValueError(f"tensor {name!r}: the name is taken")
        start, end = end, end + tensor_bytes(name, shape, dtype)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
        places.append((name, dtype, tuple(shape), start, end - start))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
    data_start = 8 + len(text)
    entries = tuple(TensorEntry(n, kind, shape, data_start + at, size) for n, kind, shape, at, size in places)
    return FileLayout(struct.pack("<Q", len(text)) + text, entries, data_start + end)


def tensor_bytes(name: str, shape: Sequence[int], dtype: str) -> int:
    """Bytes of one tensor; ValueError for an unknown dtype, or a shape whose bits do not fill whole bytes."""
    if dtype not in DTYPE_BITS:
        raise ValueError(f"tensor {name!r}: unknown dtype {dtype!r}")
    n_bits = math.prod(shape) * DTYPE_BITS[dtype]
    if n_bits % 8:
        raise ValueError(f"tensor {name!r}: {n_bits} bits are not whole bytes")
    return n_bits // 8


def _check_length(length: int, size_bytes: int) -> None:
    if length > MAX_HEADER_BYTES:
        raise HeaderError(
            "st-header-large", f"a header of {length} bytes; at most {MAX_HEADER_BYTES} are read"
        )
    if length < 2:
        raise HeaderError("st-header-small", f"a header of {length} bytes; the shortest is 2: {{}}")
    if 8 + length > size_bytes:
        raise HeaderError(
            "st-truncated", f"the header ends at byte {8 + length}, but the file has {size_bytes} bytes"
        )


def _read_tensors(walker: JsonWalker, data_start: int) -> tuple[list[TensorEntry], dict[str, str]]:
    entries: list[TensorEntry] = []
    metadata: dict[str, str] = {}
    for name in walker.members():
        if name == "__metadata__":
            metadata = walker.strings(MAX_METADATA_KEYS)
            continue
        if len(entries) == MAX_TENSORS:
            raise HeaderError("st-tensor-count", f"more than {MAX_TENSORS} tensors, which is the limit")
        try:
            entries.append(_read_entry(walker, name, data_start))
        except HeaderError as error:
            raise HeaderError(error.code, error.message, f"tensor {quoted(name)}") from error
    walker.finish()
    return entries, metadata


def _read_entry(walker: JsonWalker, name: str, data_start: int) -> TensorEntry:
    if len(name) > MAX_NAME_CHARACTERS or "\0" in name:
        raise HeaderError("st-name", f"a name has at most {MAX_NAME_CHARACTERS} characters and no NUL")
    fields = walker.small_object()
    if fields.keys() != _FIELDS:
        raise HeaderError("st-entry", "its fields must be exactly dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise HeaderError("st-dtype", f"unknown dtype {quoted(dtype)}")
    if not _is_naturals(shape) or len(shape) > MAX_DIMENSIONS:
        raise HeaderError("st-shape", f"shape must be at most {MAX_DIMENSIONS} whole numbers")
    if not _is_naturals(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= MAX_ELEMENTS:
        raise HeaderError("st-offsets", "data_offsets must be [begin, end], whole, in order and below 2^63")
    n_elements = math.prod(shape)
    if max(n_elements, *shape, 0) > MAX_ELEMENTS:  # a huge number hides beside a 0
        raise HeaderError("st-shape", "the shape has more than 2^63 - 1 elements")
    n_bits, (begin, end) = n_elements * DTYPE_BITS[dtype], offsets
    if n_bits % 8 or n_bits // 8 != end - begin:
        raise HeaderError(
            "st-size",
            f"{dtype} of shape {shape} takes {n_bits} bits, but data_offsets span {end - begin} bytes",
        )
    return TensorEntry(name, dtype, tuple(shape), data_start + begin, end - begin)


def _check_tiling(entries: Sequence[TensorEntry], data_start: int, size_bytes: int) -> None:
    expected = data_start
    for entry in entries:
        if entry.end > size_bytes:
            code, fault = (
                "st-data-short",
                f"its data ends at byte {entry.end}, but the file has {size_bytes} bytes",
            )
        elif entry.start < expected:
            code, fault = (
                "st-overlap",
                f"its data starts at byte {entry.start}, inside what ends at {expected}",
            )
        elif entry.start > expected:
            code, fault = (
                "st-gap",
                f"its data starts at byte {entry.start}, after a gap from byte {expected} on",
            )
        else:
            expected = entry.end
            continue
        raise HeaderError(code, fault, f"tensor {quoted(entry.name)}")
    if expected != size_bytes:
        raise HeaderError(
            "st-data-long", f"the last tensor ends at byte {expected}, but the file has {size_bytes} bytes"
        )


def _is_naturals(value: object) -> bool:
    # bool is an int to Python; type() tells them apart.
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
