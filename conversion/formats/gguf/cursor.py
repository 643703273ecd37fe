"""Walking a header front to back over range reads, with a budget."""

import struct

from conversion.formats.errors import HeaderError
from conversion.formats.source import ByteSource, read_exactly

READ_AHEAD_BYTES = 256 * 1024
"""One range read fetches at least this much: few requests, whatever the store."""

MAX_HEADER_READ_BYTES = 256 * 1024 * 1024
"""Bytes one header may make us look at. The largest known vocabularies need under 16 MiB."""


class Cursor:
    """A position in a source that only moves forward and never past the end of the file.

    Holds one window of bytes. `take` reads, `skip` does not; both refuse with `gguf-truncated` before allocating.
    """

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.position = 0
        self._window = b""
        self._window_start = 0
        self._bytes_read = 0

    @property
    def remaining(self) -> int:
        return self.source.size_bytes - self.position

    def take(self, length: int, what: str) -> bytes:
        """The next `length` bytes; `what` names them in the error if the file ends first."""
        offset = self.position - self._window_start
        if not 0 <= offset <= offset + length <= len(self._window):
            self._fill(length, what)
            offset = 0
        self.position += length
        return self._window[offset : offset + length]

    def take_uint32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def take_uint64(self, what: str) -> int:
        return int.from_bytes(self.take(8, what), "little")

    def skip(self, length: int, what: str) -> None:
        """Move on by `length` bytes without reading them."""
        if length > self.remaining:
            raise HeaderError(
                "gguf-truncated",
                f"{what} needs {length} bytes at byte {self.position}, but the file ends at {self.source.size_bytes}",
            )
        self.position += length

    def skip_strings(self, count: int, what: str) -> None:
        """Move on by `count` length-prefixed strings, reading the lengths and as little else as the window allows."""
        for _ in range(count):
            offset = self.position - self._window_start
            if 0 <= offset <= len(self._window) - 8:
                (length,) = _UINT64.unpack_from(self._window, offset)
                self.position += 8
            else:
                length = self.take_uint64(what)
            if length > self.source.size_bytes - self.position:
                self.skip(length, what)
            self.position += length

    def _fill(self, length: int, what: str) -> None:
        if length > self.remaining:
            self.skip(length, what)
        ahead = min(max(length, READ_AHEAD_BYTES), self.remaining)
        self._bytes_read += ahead
        if self._bytes_read > MAX_HEADER_READ_BYTES:
            raise HeaderError(
                "gguf-header-large",
                f"the header goes on after {MAX_HEADER_READ_BYTES} bytes were read, which is the limit",
            )
        self._window = read_exactly(self.source, self.position, ahead, code="gguf-truncated", what=what)
        self._window_start = self.position


_UINT64 = struct.Struct("<Q")
