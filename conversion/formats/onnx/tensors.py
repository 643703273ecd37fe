"""A tensor of an ONNX file: what it is and where its values lie. None of them is read here.

TensorProto: dims = 1, data_type = 2, float_data = 4, int32_data = 5, string_data = 6, int64_data = 7, name = 8,
raw_data = 9, double_data = 10, uint64_data = 11, external_data = 13, data_location = 14 (1: in another file).
(onnx/onnx.proto) Values are in exactly one place: raw bytes, little-endian and without gaps; numbers packed as protobuf
packs them (floats are then raw bytes, too; whole numbers are varints); or a range of another file.
"""

import math
import re
from dataclasses import dataclass, replace

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.onnx.wire import BYTES, Field, Wire, signed

MAX_DIMENSIONS = 32
MAX_ELEMENTS = 2**63 - 1
MAX_EXTERNAL_KEYS = 16

DTYPES: dict[int, tuple[str, int]] = {
    1: ("F32", 32), 2: ("U8", 8), 3: ("I8", 8), 4: ("U16", 16), 5: ("I16", 16), 6: ("I32", 32), 7: ("I64", 64),
    8: ("STRING", 0), 9: ("BOOL", 8), 10: ("F16", 16), 11: ("F64", 64), 12: ("U32", 32), 13: ("U64", 64),
    14: ("C64", 64), 15: ("C128", 128), 16: ("BF16", 16), 17: ("F8_E4M3", 8), 18: ("F8_E4M3FNUZ", 8),
    19: ("F8_E5M2", 8), 20: ("F8_E5M2FNUZ", 8), 21: ("U4", 4), 22: ("I4", 4), 23: ("F4", 4), 24: ("F8_E8M0", 8),
    25: ("U2", 2), 26: ("I2", 2),
}  # fmt: skip
"""TensorProto.DataType -> the name that safetensors has for it, where it has one, and bits per element."""

RAW, FLOATS, DOUBLES, VARINTS, STRINGS = "raw", "floats", "doubles", "varints", "strings"
PLACES = {4: FLOATS, 5: VARINTS, 6: STRINGS, 7: VARINTS, 9: RAW, 10: DOUBLES, 11: VARINTS}
FITTING = {
    FLOATS: ("F32", "C64"), DOUBLES: ("F64", "C128"), STRINGS: ("STRING",),
    VARINTS: ("I32", "I16", "I8", "U16", "U8", "BOOL", "F16", "BF16", "I64", "U32", "U64", "F8_E4M3", "F8_E5M2",
              "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0", "I4", "U4", "F4", "I2", "U2"),
}  # fmt: skip
_OFFSET = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class OnnxTensor:
    """`length` bytes from `start` of the ONNX file, or of the file `location` beside it.

    `place` says how they are stored: raw, floats and doubles are the values as memory has them, varints are not.
    `is_inner`: it belongs to a graph within the graph.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    place: str
    start: int
    length: int
    location: str = ""
    is_inner: bool = False

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)


def read_tensor(wire: Wire, message: Field, name: str = "") -> OnnxTensor:
    """The TensorProto in that field, under its own name or the one given. HeaderError `onnx-tensor` and others."""
    dims: list[int] = []
    kind, location, own = 0, 0, ""
    places: list[tuple[str, Field]] = []
    external: dict[str, str] = {}
    for field in wire.fields(message.start, message.end):
        if field.number == 1:
            dims += [signed(value) for value in wire.numbers(field, "dims", MAX_DIMENSIONS)]
            _check_count(len(dims), MAX_DIMENSIONS, "dimensions")
        elif field.number == 2:
            kind = field.value
        elif field.number == 8:
            own = wire.text(field, "a tensor's name")
        elif field.number == 13:
            _check_count(len(external) + 1, MAX_EXTERNAL_KEYS, "external_data entries")
            external |= read_pair(wire, field)
        elif field.number == 14:
            location = field.value
        elif field.number in PLACES and field.length:
            _add_place(places, PLACES[field.number], field, name or own)
    found = _tensor(name or own, kind, dims)
    return _external(found, external) if location == 1 else _inside(found, places)


def read_pair(wire: Wire, message: Field) -> dict[str, str]:
    """A StringStringEntryProto: key = 1, value = 2."""
    wire.expect(message, BYTES, "a pair of texts")
    found = {1: "", 2: ""}
    for field in wire.fields(message.start, message.end):
        if field.number in found:
            found[field.number] = wire.text(field, "a pair of texts")
    return {found[1]: found[2]}


def _add_place(places: list[tuple[str, Field]], place: str, field: Field, name: str) -> None:
    """Strings come one by one; everything else lies in one piece, or it is refused."""
    if place == STRINGS:
        places[:] = places or [(place, field)]
    elif places:
        raise _refused(name, "its values lie in more than one place")
    else:
        places.append((place, field))


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise HeaderError("onnx-tensor", f"a tensor has more than {most} {what}")


def _tensor(name: str, kind: int, dims: list[int]) -> OnnxTensor:
    if kind not in DTYPES:
        raise _refused(name, f"data type {kind} is not known")
    if any(size < 0 for size in dims) or max(math.prod(dims), *dims, 0) > MAX_ELEMENTS:
        raise _refused(name, f"shape {dims[:8]} is not possible")
    return OnnxTensor(name, DTYPES[kind][0], tuple(dims), RAW, 0, 0)


def size_bytes(dtype: str, n_elements: int) -> int:
    """Bytes of that many values as raw data; types below 8 bits are packed, the last byte filled up."""
    bits = next(bits for known, bits in DTYPES.values() if known == dtype)
    return -(-n_elements * bits // 8)


def _inside(tensor: OnnxTensor, places: list[tuple[str, Field]]) -> OnnxTensor:
    expected = size_bytes(tensor.dtype, tensor.n_elements)
    if not places:
        if expected:
            raise _refused(tensor.name, f"shape {tensor.shape} has values, but none are there")
        return tensor
    [(place, field)] = places
    if place != RAW and tensor.dtype not in FITTING[place]:
        raise _refused(tensor.name, f"{tensor.dtype} cannot be stored as {place}")
    if place in (RAW, FLOATS, DOUBLES) and (field.length != expected or field.wire != BYTES):
        raise _refused(
            tensor.name, f"{tensor.dtype} {tensor.shape} takes {expected} bytes, not {field.length}"
        )
    if place == VARINTS and field.length < _n_stored(tensor):
        raise _refused(tensor.name, f"{field.length} bytes cannot hold {tensor.n_elements} numbers")
    return replace(tensor, place=place, start=field.start, length=field.length)


def _n_stored(tensor: OnnxTensor) -> int:
    """How many varints there are: one an element, or one a byte of types below 8 bits."""
    return min(tensor.n_elements, size_bytes(tensor.dtype, tensor.n_elements))


def _external(tensor: OnnxTensor, keys: dict[str, str]) -> OnnxTensor:
    expected = size_bytes(tensor.dtype, tensor.n_elements)
    start, length = keys.get("offset", "0"), keys.get("length", str(expected))
    if tensor.dtype == "STRING" or not _OFFSET.fullmatch(start) or not _OFFSET.fullmatch(length):
        raise _refused(tensor.name, f"its external offset {quoted(start)} or length {quoted(length)} is none")
    if int(length) != expected:
        raise _refused(tensor.name, f"{tensor.dtype} {tensor.shape} takes {expected} bytes, not {length}")
    location = checked_location(keys.get("location", ""), tensor.name)
    return replace(tensor, start=int(start), length=expected, location=location)


def checked_location(location: str, name: str) -> str:
    """A relative path that stays in the folder of the ONNX file, or HeaderError `onnx-external-path`.

    A file that names `../../etc/passwd` or `/dev/sda` as its weights is an attack that has been tried on every runtime.
    """
    parts = location.split("/")
    if not location or set(parts) & {"", ".", ".."} or set(location) & {"\\", ":", "\0"}:
        raise HeaderError(
            "onnx-external-path",
            f"its values are said to lie in {quoted(location)}; only a file in the same folder is read",
            f"tensor {quoted(name)}",
        )
    return location


def _refused(name: str, fault: str) -> HeaderError:
    return HeaderError("onnx-tensor", fault, f"tensor {quoted(name)}")
