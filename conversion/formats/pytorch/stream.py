"""The bytes of a pickle, front to back, over range reads, with a budget."""

from conversion.formats.errors import HeaderError
from conversion.formats.source import ByteSource, read_exactly

WINDOW_BYTES = 256 * 1024
MAX_PICKLE_BYTES = 32 * 1024 * 1024
"""Bytes that one file's pickles may take together; a tensor takes about 150, so this is far beyond any checkpoint."""

MAX_LINE_BYTES = 1024
"""Of a line: protocol 2 writes the names of globals as lines, and nothing else."""


class PickleStream:
    """A position in a source that moves forward and never passes `end`; every fault is a HeaderError."""

    def __init__(self, source: ByteSource, start: int = 0, end: int | None = None) -> None:
        self.source = source
        self.position = start
        self.end = source.size_bytes if end is None else end
        self._limit = start + MAX_PICKLE_BYTES
        self._window = b""
        self._window_start = start

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        offset = self.position - self._window_start
        if offset + length > len(self._window):
            self._fill(length)
            offset = 0
        self.position += length
        return self._window[offset : offset + length]

    def take_int(self, length: int) -> int:
        """The next `length` bytes as an unsigned little-endian number."""
        return int.from_bytes(self.take(length), "little")

    def line(self) -> str:
        """The text up to the next newline, which is passed over."""
        offset = self.position - self._window_start
        if self._window.find(b"\n", offset, offset + MAX_LINE_BYTES) < 0:
            self._fill(min(MAX_LINE_BYTES, self.end - self.position))
            offset = 0
        stop = self._window.find(b"\n", offset, offset + MAX_LINE_BYTES)
        if stop < 0:
            raise HeaderError(
                "pt-pickle", f"no line ends within {MAX_LINE_BYTES} bytes of byte {self.position}"
            )
        self.position += stop + 1 - offset
        return as_text(self._window[offset:stop])

    def _fill(self, length: int) -> None:
        if self.position + length > self.end:
            raise HeaderError(
                "pt-truncated",
                f"the pickle needs {length} bytes at byte {self.position}, but it ends at {self.end}",
            )
        if self.position + length > self._limit:
            raise HeaderError("pt-pickle-large", f"the pickles take more than {MAX_PICKLE_BYTES} bytes")
        ahead = min(max(length, WINDOW_BYTES), self.end - self.position)
        self._window = read_exactly(self.source, self.position, ahead, code="pt-truncated", what="a pickle")
        self._window_start = self.position


def as_text(data: bytes) -> str:
    """UTF-8, or HeaderError `pt-pickle`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderError("pt-pickle", f"a string is not UTF-8 at its byte {error.start}") from error
