"""The wire format of protobuf: fields of messages, found by range reads, one after the other.

| wire type | what follows the tag (a varint: field number * 8 + wire type) |
|---|---|
| 0 varint | 1 to 10 bytes of 7 bits, least significant first |
| 1 | 8 bytes |
| 2 | a varint length and that many bytes: text, bytes, a message, or packed numbers |
| 5 | 4 bytes |

Groups (3 and 4) are long gone and refused. Nothing is decoded here but tags, lengths and varints, nothing is allocated
by what a length says, and a message is entered only when somebody asks for its fields: values of gigabytes are stepped
over.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from conversion.formats.errors import HeaderError
from conversion.formats.source import ByteSource

READ_AHEAD_BYTES = 64 * 1024
MAX_FIELDS = 4_000_000
"""Of one file, at every depth. A network of 100,000 nodes has about a million; a minute's work in all."""

MAX_TEXT_BYTES = 4096
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
MAX_VARINT_BYTES = 10
VARINT_CHUNK_BYTES = 1 << 20


class Field(NamedTuple):
    """One field: its number, its wire type, and its value (a varint) or the bytes `[start, start + length)`."""

    number: int
    wire: int
    value: int
    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


class Wire:
    """A file seen as protobuf. Holds one window of bytes; what lies in it costs no further read."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.n_fields = 0
        self._window = b""
        self._window_start = 0

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message in bytes `[start, end)`, in order. HeaderError `onnx-truncated`, `onnx-wire`."""
        position = start
        while position < end:
            self.n_fields += 1
            if self.n_fields > MAX_FIELDS:
                raise HeaderError("onnx-fields", f"more than {MAX_FIELDS} fields, which is the limit")
            field = self._field(position, end)
            yield field
            position = field.end

    def _field(self, position: int, end: int) -> Field:
        tag, at = self.varint(position, end)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise HeaderError("onnx-wire", f"field number 0 at byte {position}")
        if wire == VARINT:
            value, after = self.varint(at, end)
            return Field(number, wire, value, at, after - at)
        if wire == BYTES:
            length, at = self.varint(at, end)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise HeaderError("onnx-wire", f"wire type {wire} at byte {position}; 0, 1, 2 and 5 are known")
        if length > end - at:
            raise HeaderError(
                "onnx-truncated",
                f"field {number} at byte {position} takes {length} bytes, but what contains it ends at byte {end}",
            )
        return Field(number, wire, 0, at, length)

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """The whole number that starts at `position`, below 2^64, and where the next thing starts."""
        window, offset = self._reach(position, min(MAX_VARINT_BYTES, end - position))
        value = 0
        for index in range(min(MAX_VARINT_BYTES, end - position)):
            byte = window[offset + index]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, position + index + 1
        cut = end - position < MAX_VARINT_BYTES
        fault = f"the file or message ends in the number at byte {position}"
        raise HeaderError(
            "onnx-truncated" if cut else "onnx-wire",
            fault if cut else f"the number at byte {position} has more than {MAX_VARINT_BYTES} bytes",
        )

    def text(self, field: Field, what: str) -> str:
        """UTF-8 of at most MAX_TEXT_BYTES. HeaderError `onnx-text`."""
        self.expect(field, BYTES, what)
        if field.length > MAX_TEXT_BYTES:
            raise HeaderError(
                "onnx-text", f"{what} has {field.length} bytes; at most {MAX_TEXT_BYTES} are read"
            )
        window, offset = self._reach(field.start, field.length)
        try:
            return window[offset : offset + field.length].decode()
        except UnicodeDecodeError as error:
            raise HeaderError("onnx-text", f"{what} at byte {field.start} is not UTF-8") from error

    def expect(self, field: Field, wire: int, what: str) -> Field:
        """The field itself, if its wire type is that. HeaderError `onnx-wire`."""
        if field.wire != wire:
            raise HeaderError(
                "onnx-wire", f"{what} at byte {field.start} has wire type {field.wire}, not {wire}"
            )
        return field

    def numbers(self, field: Field, what: str, most: int) -> list[int]:
        """The varints of a repeated field, packed or not; at most `most`. HeaderError `onnx-numbers`."""
        if field.wire == VARINT:
            return [field.value]
        self.expect(field, BYTES, what)
        if field.length > most * MAX_VARINT_BYTES:
            raise HeaderError(
                "onnx-numbers", f"{what} has {field.length} bytes; at most {most} numbers are read"
            )
        found, position = [], field.start
        while position < field.end:
            value, position = self.varint(position, field.end)
            found.append(value)
        if len(found) > most:
            raise HeaderError("onnx-numbers", f"{what} has {len(found)} numbers; at most {most} are read")
        return found

    def _reach(self, position: int, length: int) -> tuple[bytes, int]:
        """A window that holds these bytes, and where they start in it."""
        offset = position - self._window_start
        if not 0 <= offset <= offset + length <= len(self._window):
            size = min(max(length, READ_AHEAD_BYTES), self.source.size_bytes - position)
            self._window, self._window_start, offset = self.source.read(position, size), position, 0
            if length > len(self._window):
                raise HeaderError(
                    "onnx-truncated", f"the file was cut at byte {position} after it was measured"
                )
        return self._window, offset


def signed(value: int) -> int:
    """An int64 that was written as a varint: below 2^64, as two's complement."""
    return value - (1 << 64) if value >= 1 << 63 else value


def read_varints(source: ByteSource, start: int, end: int) -> Iterator[npt.NDArray[np.uint64]]:
    """The packed varints in bytes `[start, end)`, some hundred thousand at a time. HeaderError `onnx-wire`."""
    rest = b""
    while start < end or rest:
        data = rest + source.read(start, min(VARINT_CHUNK_BYTES, end - start))
        start = min(end, start + VARINT_CHUNK_BYTES)
        found = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(found < 0x80)
        n_whole = int(ends[-1]) + 1 if len(ends) else 0
        rest = data[n_whole:]
        if len(rest) >= MAX_VARINT_BYTES or (rest and start >= end):
            raise HeaderError("onnx-wire", f"a packed number before byte {start} has no end")
        if n_whole:
            yield _decoded(found[:n_whole], ends)


def _decoded(data: npt.NDArray[np.uint8], ends: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
    """The numbers whose last bytes are at `ends`, low seven bits first."""
    starts = np.concatenate([np.zeros(1, np.intp), ends[:-1] + 1])
    lengths = ends - starts + 1
    if int(lengths.max()) > MAX_VARINT_BYTES:
        raise HeaderError("onnx-wire", f"a packed number has more than {MAX_VARINT_BYTES} bytes")
    places = np.arange(len(data)) - np.repeat(starts, lengths)
    bits = (data & 0x7F).astype(np.uint64) << (places * 7).astype(np.uint64)
    decoded: npt.NDArray[np.uint64] = np.bitwise_or.reduceat(bits, starts)
    return decoded
