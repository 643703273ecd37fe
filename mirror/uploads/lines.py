"""The body of a commit, read line by line (NDJSON) in bounded memory: contents go into the store as they arrive.

A line is a JSON object. Long texts in it are not collected: the one that is longer than INLINE_BYTES must be the
base64 of a file's content. It is decoded and staged piece by piece, and a token stands in its place in the JSON.
"""

import binascii
import json
import re
import secrets
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

INLINE_BYTES = 256 << 10
"""Of a text that is collected in memory, as it was sent."""
MAX_LINE_BYTES = 1 << 20
"""Of a line without its one long text."""
BLOCK_BYTES = 256 << 10
_OUTSIDE = re.compile(rb'["\n]')
_INSIDE = re.compile(rb'["\\]')


class BadLine(Exception):
    """A line that is not what it should be. `status` is 400, or 413 when it is too long."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.status = message, status


class Sink(Protocol):
    """Where decoded bytes go."""

    def write(self, data: bytes) -> None: ...


@dataclass
class Line:
    """One object. `sink` took the long text, whose place in `value` is taken by `token`."""

    number: int
    value: dict[str, Any]
    token: str = ""
    sink: Sink | None = None


def read_lines(read: Callable[[int], bytes], open_sink: Callable[[], Sink]) -> Iterator[Line]:
    """The lines of the body, in order. A sink is opened for each long text. Raises BadLine."""
    source = _Source(read)
    number = 0
    while not source.is_at_end():
        number += 1
        raw = _RawLine(number, open_sink)
        raw.take(source)
        if raw.text.strip():
            yield raw.parsed()


def decode(text: str, number: int) -> bytes:
    """The bytes of a short base64 text."""
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadLine(f"line {number}: the content is not base64.") from None


class _Source:
    """A stream with a look ahead."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.buffer = b""

    def is_at_end(self) -> bool:
        if not self.buffer:
            self.buffer = self._read(BLOCK_BYTES)
        return not self.buffer

    def until(self, pattern: re.Pattern[bytes]) -> tuple[bytes, bytes]:
        """What comes before the next match within the buffer, and the match; it is empty when the buffer ended."""
        found = pattern.search(self.buffer)
        if found is None:
            taken, self.buffer = self.buffer, b""
            return taken, b""
        taken, self.buffer = self.buffer[: found.start()], self.buffer[found.end() :]
        return taken, found.group()

    def one(self) -> bytes:
        """The next byte; empty at the end."""
        if self.is_at_end():
            return b""
        taken, self.buffer = self.buffer[:1], self.buffer[1:]
        return taken


class _RawLine:
    def __init__(self, number: int, open_sink: Callable[[], Sink]) -> None:
        self.number = number
        self.text = bytearray()
        self._open_sink = open_sink
        self._sink: Sink | None = None
        self._token = ""

    def take(self, source: _Source) -> None:
        """Everything up to the end of the line."""
        while not source.is_at_end():
            before, sign = source.until(_OUTSIDE)
            self._add(before)
            if sign == b"\n":
                return
            if sign == b'"':
                self._take_text(source)

    def parsed(self) -> Line:
        try:
            value = json.loads(self.text)
        except (ValueError, RecursionError):
            raise BadLine(f"line {self.number} is not JSON.") from None
        if not isinstance(value, dict):
            raise BadLine(f"line {self.number} is not a JSON object.")
        return Line(self.number, value, self._token, self._sink)

    def _take_text(self, source: _Source) -> None:
        """A text from behind its first quote to its last; escapes are kept as they are."""
        text = bytearray()
        while not source.is_at_end():
            before, sign = source.until(_INSIDE)
            text += before
            if sign == b"\\":
                text += sign + source.one()
            elif sign == b'"':
                return self._add(b'"' + bytes(text) + b'"')
            if len(text) > INLINE_BYTES:
                return self._divert(text, source)
        raise BadLine(f"line {self.number} ends within a text.")

    def _divert(self, start: bytearray, source: _Source) -> None:
        if self._sink is not None:
            raise BadLine(f"line {self.number} has two long texts.", 413)
        self._sink, self._token = self._open_sink(), secrets.token_hex(16)
        decoder = _Decoder(self.number, self._sink)
        decoder.feed(bytes(start))
        while not source.is_at_end():
            before, sign = source.until(_INSIDE)
            decoder.feed(before)
            if sign == b'"':
                decoder.end()
                return self._add(f'"{self._token}"'.encode())
            if sign:
                raise BadLine(f"line {self.number}: the content is not base64.")
        raise BadLine(f"line {self.number} ends within a text.")

    def _add(self, piece: bytes) -> None:
        self.text += piece
        if len(self.text) > MAX_LINE_BYTES:
            raise BadLine(f"line {self.number} is longer than {MAX_LINE_BYTES} bytes.", 413)


class _Decoder:
    """Base64 in pieces of any length."""

    def __init__(self, number: int, sink: Sink) -> None:
        self._number, self._sink = number, sink
        self._rest = b""
        self._is_padded = False

    def feed(self, text: bytes) -> None:
        text = self._rest + text
        whole = len(text) // 4 * 4
        self._rest = text[whole:]
        if whole:
            self._decode(text[:whole])

    def end(self) -> None:
        if self._rest:
            raise BadLine(f"line {self._number}: the base64 of the content ends within a group of four.")

    def _decode(self, text: bytes) -> None:
        try:
            data = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            data = None
        if data is None or self._is_padded:
            raise BadLine(f"line {self._number}: the content is not base64.")
        self._is_padded = text.endswith(b"=")
        self._sink.write(data)
