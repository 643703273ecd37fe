"""Reading a GGUF header: strict, by range reads, in bounded memory.

Layout of a file, all numbers little-endian:

| bytes | what |
|---|---|
| 4 | magic `GGUF` |
| uint32 | version, 2 or 3 |
| uint64 | number of tensors |
| uint64 | number of metadata pairs |
| pairs | key (uint64 length, UTF-8), uint32 value type, value |
| tensor records | name as a key, uint32 n_dims, n_dims x uint64 (innermost first), uint32 type, uint64 offset |
| zeros | up to a multiple of `general.alignment` (32 unless a uint32 says otherwise) |
| data | each tensor at its offset from here, in the order of the records, padded with zeros to the alignment |

The format is described in ggml's docs/gguf.md; where that is silent we do as llama.cpp's gguf.cpp does: tensors must
tile the data section in order, so that no two can overlap and no byte is unaccounted for. Everything is computed in
Python integers, which do not wrap.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.gguf.cursor import Cursor
from conversion.formats.gguf.metadata import MetadataValue, read_metadata
from conversion.formats.gguf.types import TYPE_BY_ID, GgmlType, ValueType
from conversion.formats.gguf.writer import (
    DEFAULT_ALIGNMENT,
    MAGIC,
    MAX_DIMENSIONS,
    MAX_NAME_BYTES,
    padded,
)
from conversion.formats.layout import TensorEntry
from conversion.formats.source import ByteSource

SUPPORTED_VERSIONS = (2, 3)
MAX_ALIGNMENT = 64 * 1024
MAX_TENSORS = 500_000
MAX_ELEMENTS = 2**63 - 1
MIN_TENSOR_RECORD_BYTES = 8 + 1 + 4 + 8 + 4 + 8
"""The shortest record: one byte of name and one dimension."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says about itself, every number checked against the file's size.

    `trailing_bytes` counts what lies after the last tensor and its padding: not an error, but nobody's data.
    """

    version: int
    metadata: dict[str, MetadataValue]
    entries: tuple[TensorEntry, ...]
    data_start: int
    alignment: int
    trailing_bytes: int

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a scalar or short string, the first elements of an array, or `default`."""
        value = self.metadata.get(key)
        return default if value is None else value.preview


def read_header(source: ByteSource) -> GgufHeader:
    """The header of a GGUF file, or HeaderError. Reads the header's bytes and a window beyond, never the tensors."""
    cursor = Cursor(source)
    version = _read_version(cursor)
    n_tensors = cursor.take_uint64("the number of tensors")
    n_pairs = cursor.take_uint64("the number of metadata keys")
    if n_tensors > MAX_TENSORS or n_tensors * MIN_TENSOR_RECORD_BYTES > cursor.remaining:
        allowed = min(MAX_TENSORS, cursor.remaining // MIN_TENSOR_RECORD_BYTES)
        raise HeaderError(
            "gguf-tensor-count", f"the header announces {n_tensors} tensors; at most {allowed} can follow"
        )
    metadata = read_metadata(cursor, n_pairs)
    alignment = _alignment(metadata)
    records = _read_records(cursor, n_tensors)
    data_start = padded(cursor.position, alignment)
    entries, end = _place(records, data_start, alignment, source.size_bytes)
    trailing_bytes = max(0, source.size_bytes - end)
    return GgufHeader(version, metadata, entries, data_start, alignment, trailing_bytes)


@dataclass(frozen=True, slots=True)
class _Record:
    name: str
    shape: tuple[int, ...]
    type: GgmlType
    offset: int


def _read_version(cursor: Cursor) -> int:
    magic = cursor.take(4, "the magic")
    if magic != MAGIC:
        raise HeaderError("gguf-magic", f"the file starts with {quoted(magic)}, not with {quoted(MAGIC)}")
    version = cursor.take_uint32("the version")
    if version in SUPPORTED_VERSIONS:
        return version
    if int.from_bytes(version.to_bytes(4, "little"), "big") in (1, *SUPPORTED_VERSIONS):
        raise HeaderError("gguf-big-endian", "the file is big-endian; only little-endian files are read")
    raise HeaderError("gguf-version", f"version {version}; versions 2 and 3 are read")


def _alignment(metadata: dict[str, MetadataValue]) -> int:
    declared = metadata.get("general.alignment")
    if declared is None:
        return DEFAULT_ALIGNMENT
    value = declared.preview
    if declared.type is not ValueType.UINT32:
        raise HeaderError(
            "gguf-alignment", f"general.alignment is {declared.type.name}; it must be a UINT32 power of two"
        )
    if not 1 <= value <= MAX_ALIGNMENT or value & (value - 1):
        raise HeaderError(
            "gguf-alignment", f"general.alignment is {value}; it must be a power of two up to {MAX_ALIGNMENT}"
        )
    return int(value)


def _read_records(cursor: Cursor, n_tensors: int) -> list[_Record]:
    records: list[_Record] = []
    seen: set[str] = set()
    for index in range(n_tensors):
        name = _read_name(cursor, index)
        try:
            if name in seen:
                raise HeaderError("gguf-duplicate-tensor", "the name appears twice")
            records.append(_read_record(cursor, name))
        except HeaderError as error:
            raise HeaderError(error.code, error.message, f"tensor {quoted(name)}") from error
        seen.add(name)
    return records


def _read_record(cursor: Cursor, name: str) -> _Record:
    n_dimensions = cursor.take_uint32("the number of dimensions")
    if not 1 <= n_dimensions <= MAX_DIMENSIONS:
        raise HeaderError("gguf-dims", f"{n_dimensions} dimensions; 1 to {MAX_DIMENSIONS} are allowed")
    data = cursor.take(8 * n_dimensions + 12, "the shape, type and offset")
    *dimensions, number, offset = struct.unpack(f"<{n_dimensions}QIQ", data)
    shape = tuple(reversed(dimensions))
    if math.prod(shape) > MAX_ELEMENTS or max(shape) > MAX_ELEMENTS:
        raise HeaderError("gguf-shape", f"shape {shape}; at most 2^63 - 1 elements are allowed")
    kind = TYPE_BY_ID.get(number)
    if kind is None:
        raise HeaderError("gguf-type", f"unknown tensor type {number}")
    if shape[-1] % kind.block_size:
        raise HeaderError(
            "gguf-block", f"rows of {shape[-1]} are not whole {kind.name} blocks of {kind.block_size}"
        )
    return _Record(name, shape, kind, offset)


def _read_name(cursor: Cursor, index: int) -> str:
    length = cursor.take_uint64("the length of a tensor's name")
    if not 1 <= length <= MAX_NAME_BYTES:
        raise HeaderError(
            "gguf-name", f"the name of tensor {index} has {length} bytes; 1 to {MAX_NAME_BYTES} are allowed"
        )
    data = cursor.take(length, "a tensor's name")
    if b"\0" in data:
        raise HeaderError("gguf-name", f"the name of tensor {index} contains NUL: {quoted(data)}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderError("gguf-name", f"the name of tensor {index} is not UTF-8: {quoted(data)}") from error


def _place(
    records: list[_Record], data_start: int, alignment: int, size_bytes: int
) -> tuple[tuple[TensorEntry, ...], int]:
    entries: list[TensorEntry] = []
    expected = 0
    for record in records:
        entry = _place_one(record, expected, data_start, alignment, size_bytes)
        entries.append(entry)
        expected = padded(entry.end - data_start, alignment)
    return tuple(entries), data_start + expected


def _place_one(
    record: _Record, expected: int, data_start: int, alignment: int, size_bytes: int
) -> TensorEntry:
    offset = record.offset
    length = math.prod(record.shape[:-1]) * record.type.row_bytes(record.shape[-1])
    start = data_start + offset
    if offset % alignment:
        code, fault = "gguf-misaligned", f"offset {offset} is not a multiple of {alignment}"
    elif offset < expected:
        code, fault = (
            "gguf-overlap",
            f"offset {offset} lies inside what precedes it, which ends at {expected}",
        )
    elif offset > expected:
        code, fault = (
            "gguf-gap",
            f"offset {offset} leaves a gap after what precedes it, which ends at {expected}",
        )
    elif start + length > size_bytes:
        code = "gguf-data-short"
        fault = f"{length} bytes at {start} end at {start + length}, but the file has {size_bytes} bytes"
    else:
        return TensorEntry(record.name, record.type.name, record.shape, start, length)
    raise HeaderError(code, fault, f"tensor {quoted(record.name)}")
