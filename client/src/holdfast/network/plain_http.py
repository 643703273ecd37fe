"""HTTP/1.1 as far as a GET without TLS and proxy needs it.

urllib3 on top of http.client spends 0.9 ms of CPU time on a small answer, this 0.15 (`benchmarks/pulling.py`): of a
thousand small files from a server next door that was half of all the work. The rest of the world stays with urllib3.

What comes is hostile input: lines and their number are bounded, lengths that contradict each other are refused, and a
connection is kept only after an answer that ended where it said it would.
"""

from __future__ import annotations

import re
import socket
import threading
import weakref
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import cast
from urllib.parse import quote

from urllib3.exceptions import ProtocolError

MAX_LINE_BYTES = 64 * 1024
MAX_HEADERS = 200
MAX_INTERIM = 10
BUFFER_BYTES = 64 * 1024
_UNSAFE = re.compile(r"[^\x21-\x7e]")
_STATUS = re.compile(rb"^HTTP/1\.([01]) ([1-5]\d{2})(?: |\r?\n)")
_CHUNK = re.compile(rb"^([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]*)?\r?\n$")


class Headers(Mapping[str, str]):
    """Names in any case; the first of several equal ones counts."""

    def __init__(self, by_lower_name: dict[str, str]) -> None:
        self._values = by_lower_name

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Connection:
    """One socket and what was read ahead of it. Used by one thread at a time."""

    def __init__(self, host: str, port: int, timeout_seconds: float) -> None:
        self._socket = socket.create_connection((host, port), timeout_seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = cast(BufferedReader, self._socket.makefile("rb", buffering=BUFFER_BYTES))

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def line(self) -> bytes:
        """The next line with its end. Raises ProtocolError at the end of the connection or for an endless one."""
        found = self.file.readline(MAX_LINE_BYTES)
        if not found.endswith(b"\n"):
            raise ProtocolError(
                "the connection was closed" if len(found) < MAX_LINE_BYTES else "a line without end"
            )
        return found

    def close(self) -> None:
        self.file.close()
        self._socket.close()


class PlainHost:
    """Kept connections to one host. Safe between threads."""

    def __init__(self, host: str, port: int, *, timeout_seconds: float, connections: int) -> None:
        self._host, self._port = host, port
        self._timeout_seconds = timeout_seconds
        self._connections = connections
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)
        name = f"[{host}]" if ":" in host else host
        self._name = name if port == 80 else f"{name}:{port}"

    def get(self, target: str, headers: Mapping[str, str]) -> PlainAnswer:
        """GETs path and query. Raises OSError, ProtocolError or ValueError (a header that cannot be sent).

        A kept connection may have been closed by the server meanwhile: then a new one is asked, once.
        """
        request = self._request(target, headers)
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            try:
                return self._ask(kept, request)
            except (ConnectionError, ProtocolError):
                pass
        return self._ask(Connection(self._host, self._port, self._timeout_seconds), request)

    def _request(self, target: str, headers: Mapping[str, str]) -> bytes:
        lines = [
            f"GET {_UNSAFE.sub(lambda match: quote(match.group()), target)} HTTP/1.1",
            f"Host: {self._name}",
        ]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header that holds a line break cannot be sent")
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1")

    def _ask(self, connection: Connection, request: bytes) -> PlainAnswer:
        try:
            connection.send(request)
            return PlainAnswer(self, connection)
        except BaseException:
            connection.close()
            raise

    def keep(self, connection: Connection) -> None:
        """The connection may be asked again."""
        with self._lock:
            if len(self._idle) < self._connections:
                self._idle.append(connection)
                return
        connection.close()


class PlainAnswer:
    """Status and headers have come; the body is read by `read1`. What urllib3's response has of this, by its names."""

    def __init__(self, host: PlainHost, connection: Connection) -> None:
        self._host = host
        self._connection: Connection | None = connection
        self.status, is_old, fields = _read_head(connection)
        self.headers = Headers(fields)
        self._is_chunked = _is_chunked(fields)
        self._chunk_left = 0
        self.length_remaining = None if self._is_chunked else _length(fields, self.status)
        self._may_keep = not is_old and "close" not in fields.get("connection", "").lower()

    def read1(self, limit: int, decode_content: bool = False) -> bytes:
        """The next bytes as they come, at most `limit`; empty at the end. Raises ProtocolError on a cut."""
        if self._connection is None or self.length_remaining == 0:
            return b""
        if self._is_chunked:
            return self._read_chunked(self._connection, limit)
        if self.length_remaining is not None:
            limit = min(limit, self.length_remaining)
        data = self._connection.file.read1(limit)
        if self.length_remaining is not None:
            if not data:
                raise ProtocolError(f"it ended {self.length_remaining} bytes early")
            self.length_remaining -= len(data)
        return data

    def _read_chunked(self, connection: Connection, limit: int) -> bytes:
        if self._chunk_left == 0:
            self._chunk_left = _read_chunk_size(connection)
            if self._chunk_left == 0:
                _read_headers(connection)  # trailers, of which we want none
                self.length_remaining = 0
                return b""
        data = connection.file.read1(min(limit, self._chunk_left))
        if not data:
            raise ProtocolError("it ended within a chunk")
        self._chunk_left -= len(data)
        if self._chunk_left == 0 and connection.line().strip():
            raise ProtocolError("a chunk is longer than it said")
        return data

    def drain_conn(self) -> None:
        """Reads a short rest, so that the connection can be kept; a rest that does not come is no error."""
        if self.length_remaining is None or self.length_remaining > BUFFER_BYTES:
            return
        try:
            while self.read1(BUFFER_BYTES):
                pass
        except (OSError, ProtocolError):
            self.close()

    def release_conn(self) -> None:
        """The connection is kept if the answer was read to its end, and closed otherwise."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._may_keep and self.length_remaining == 0:
            self._host.keep(connection)
        else:
            connection.close()

    def close(self) -> None:
        """The connection is closed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _close_all(connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()


def _read_head(connection: Connection) -> tuple[int, bool, dict[str, str]]:
    """Status, whether the server speaks HTTP/1.0, and headers of the answer, after what it says beforehand (1xx)."""
    for _answer in range(MAX_INTERIM + 1):
        status, is_old = _read_status(connection)
        fields = _read_headers(connection)
        if status >= 200:
            return status, is_old, fields
    raise ProtocolError("it announces an answer and gives none")


def _read_status(connection: Connection) -> tuple[int, bool]:
    """The status, and whether the server speaks HTTP/1.0."""
    match = _STATUS.match(connection.line())
    if match is None:
        raise ProtocolError("it does not speak HTTP")
    return int(match.group(2)), match.group(1) == b"0"


def _read_headers(connection: Connection) -> dict[str, str]:
    fields: dict[str, str] = {}
    for _line in range(MAX_HEADERS):
        line = connection.line()
        if line in (b"\r\n", b"\n"):
            return fields
        name, colon, value = line.decode("latin-1").partition(":")
        key, value = name.lower(), value.strip()
        if not colon or not name or name != name.strip():
            raise ProtocolError("a header that is none")
        if fields.setdefault(key, value) != value and key == "content-length":
            raise ProtocolError("two lengths of one answer")
    raise ProtocolError("more headers than anyone needs")


def _is_chunked(fields: Mapping[str, str]) -> bool:
    coding = fields.get("transfer-encoding", "").lower()
    if coding not in ("", "identity", "chunked"):
        raise ProtocolError("a transfer encoding that was not asked for")
    return coding == "chunked"


def _length(fields: Mapping[str, str], status: int) -> int | None:
    """How many bytes the body has; None: it ends with the connection."""
    if status in (204, 304):
        return 0
    text = fields.get("content-length")
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise ProtocolError("a length that is no number")
    return int(text)


def _read_chunk_size(connection: Connection) -> int:
    match = _CHUNK.match(connection.line())
    if match is None:
        raise ProtocolError("a chunk without a size")
    return int(match.group(1), 16)
