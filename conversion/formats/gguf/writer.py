"""Planning a GGUF file: every byte of the header, and every tensor's place, before any tensor exists.

The bytes are those gguf-py's `GGUFWriter` writes for the same metadata and tensors in the same order (a test compares
them), and the same input always gives the same bytes: nothing of the clock, the machine or the order of a set.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conversion.formats.gguf.types import SCALAR_FORMATS, TYPE_BY_NAME, ValueType
from conversion.formats.layout import FileLayout, TensorEntry

MAGIC = b"GGUF"
VERSION = 3
DEFAULT_ALIGNMENT = 32
MAX_NAME_BYTES = 63  # ggml keeps names in 64 bytes with a terminating NUL
MAX_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class Stored:
    """A value as another file holds it: the bytes after its type tag, written again as they are, and its beginning."""

    data: bytes
    preview: Any


@dataclass(frozen=True, slots=True)
class Value:
    """One metadata value to write, with the type it has in the file: GGUF readers care about uint32 against int32.

    `value` may be Stored, for what is only passed on.
    """

    type: ValueType
    value: Any
    element_type: ValueType | None = None


@dataclass(frozen=True, slots=True)
class GgufLayout(FileLayout):
    """A planned GGUF file; tensor data starts at `data_start`, each tensor at a multiple of `alignment` after it."""

    data_start: int
    alignment: int


def string(value: str) -> Value:
    return Value(ValueType.STRING, value)


def boolean(value: bool) -> Value:
    return Value(ValueType.BOOL, value)


def uint32(value: int) -> Value:
    return Value(ValueType.UINT32, value)


def int32(value: int) -> Value:
    return Value(ValueType.INT32, value)


def float32(value: float) -> Value:
    return Value(ValueType.FLOAT32, value)


def array(element_type: ValueType, values: Sequence[Any]) -> Value:
    """An array of one element type; like gguf-py, an empty one is refused with ValueError (leave the key out)."""
    if len(values) == 0:
        raise ValueError("a GGUF array needs at least one element; leave the key out instead")
    return Value(ValueType.ARRAY, values, element_type)


def plan_file(
    metadata: Mapping[str, Value],
    tensors: Sequence[tuple[str, Sequence[int], str]],
    *,
    alignment: int = DEFAULT_ALIGNMENT,
) -> GgufLayout:
    """The complete layout of a file holding `tensors`, given as (name, row-major shape, ggml type name).

    Keys and tensors keep the order given. With an alignment other than 32, `general.alignment` is appended unless
    it is there already. Raises ValueError for what no reader would accept: a doubled or overlong name, an unknown
    or withdrawn type, a row that blocks do not divide.
    """
    metadata = _with_alignment(metadata, alignment)
    places, data_bytes = _place_tensors(tensors, alignment)
    head = bytearray(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)))
    for key, value in metadata.items():
        head += _packed_string(key) + struct.pack("<I", value.type) + _packed_value(key, value)
    for name, shape, type_name, offset, _ in places:
        head += _packed_string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += struct.pack("<IQ", TYPE_BY_NAME[type_name].id, offset)
    data_start = padded(len(head), alignment)
    head += bytes(data_start - len(head))
    entries = tuple(TensorEntry(name, kind, shape, data_start + at, n) for name, shape, kind, at, n in places)
    return GgufLayout(bytes(head), entries, data_start + data_bytes, data_start, alignment)


def padded(length: int, alignment: int) -> int:
    """`length` rounded up to a multiple of `alignment`."""
    return (length + alignment - 1) // alignment * alignment


def tensor_bytes(name: str, shape: Sequence[int], type_name: str) -> int:
    """Bytes of one tensor of this row-major shape; ValueError when ggml could not hold it."""
    kind = TYPE_BY_NAME.get(type_name)
    if kind is None or kind.removed:
        raise ValueError(f"tensor {name!r}: {type_name!r} is not a ggml type that can be written")
    if not 1 <= len(shape) <= MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise ValueError(f"tensor {name!r}: GGUF holds 1 to {MAX_DIMENSIONS} dimensions, got {tuple(shape)}")
    if shape[-1] % kind.block_size:
        raise ValueError(
            f"tensor {name!r}: rows of {shape[-1]} are not whole blocks of {kind.block_size} ({type_name})"
        )
    return math.prod(shape[:-1]) * kind.row_bytes(shape[-1])


def _with_alignment(metadata: Mapping[str, Value], alignment: int) -> Mapping[str, Value]:
    if alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"alignment must be a power of two, got {alignment}")
    declared = metadata.get("general.alignment")
    if declared is None:
        return (
            metadata
            if alignment == DEFAULT_ALIGNMENT
            else {**metadata, "general.alignment": uint32(alignment)}
        )
    if declared != uint32(alignment):
        raise ValueError(f"metadata says general.alignment is {declared.value}, the file uses {alignment}")
    return metadata


def _place_tensors(
    tensors: Sequence[tuple[str, Sequence[int], str]], alignment: int
) -> tuple[list[tuple[str, tuple[int, ...], str, int, int]], int]:
    places: list[tuple[str, tuple[int, ...], str, int, int]] = []
    seen: set[str] = set()
    offset = 0
    for name, shape, type_name in tensors:
        if name in seen or not 1 <= len(name.encode()) <= MAX_NAME_BYTES or "\0" in name:
            fault = "appears twice" if name in seen else f"is not a name of 1 to {MAX_NAME_BYTES} bytes"
            raise ValueError(f"tensor {name!r} {fault}")
        seen.add(name)
        length = tensor_bytes(name, shape, type_name)
        places.append((name, tuple(shape), type_name, offset, length))
        offset += padded(length, alignment)
    return places, offset


def _packed_string(text: str) -> bytes:
    # surrogateescape: what the reader could not decode, the writer gives back byte for byte.
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(data)) + data


def _packed_value(key: str, value: Value) -> bytes:
    if isinstance(value.value, Stored):
        return value.value.data
    try:
        return _packed_array(value) if value.type is ValueType.ARRAY else _packed_scalar(value)
    except (struct.error, AttributeError, TypeError) as error:
        # struct refuses what numpy would quietly wrap or truncate: 2**32 as uint32, 1.5 as int32.
        raise ValueError(f"metadata {key!r} does not hold a {value.type.name}: {error}") from error


def _packed_scalar(value: Value) -> bytes:
    if value.type is ValueType.STRING:
        return _packed_string(value.value)
    return struct.pack(SCALAR_FORMATS[value.type], value.value)


def _packed_array(value: Value) -> bytes:
    if value.element_type is None or value.element_type is ValueType.ARRAY:
        raise TypeError("an array needs an element type that is not itself an array")
    head = struct.pack("<IQ", value.element_type, len(value.value))
    if value.element_type is ValueType.STRING:
        return head + b"".join(map(_packed_string, value.value))
    form = SCALAR_FORMATS[value.element_type]
    return head + struct.pack(f"<{len(value.value)}{form[-1]}", *value.value)
