"""One request in, one answer out: ranges, validators, verified bytes, and errors as hub clients expect them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO, Protocol
from urllib.parse import parse_qs, urlsplit

from holdfast import __version__
from holdfast.serving.shelf import Held, Missing, Shelf
from holdfast.serving.verified import Verified
from holdfast.text import printable

SILENCE_SECONDS = 30.0
HASH_WAIT_SECONDS = 8.0  # shorter than the ten seconds after which huggingface_hub gives up
MAX_QUERY_FIELDS = 32
_RANGE = re.compile(r"^bytes=(\d{0,18})-(\d{0,18})$")


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if code:
            self.headers["X-Error-Code"] = code


@dataclass(frozen=True)
class Question:
    """What was asked, still percent-encoded."""

    path: str
    query: Mapping[str, str]
    headers: Message
    base_url: str


@dataclass(frozen=True)
class Reply:
    """A body that is known, or a file whose bytes are sent once they are verified."""

    body: bytes | Held
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(value: Any, **headers: str) -> Reply:
    """A reply in JSON."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(json.dumps(value).encode(), {"Content-Type": "application/json", **named})


class Mirror(Protocol):
    """What the requests of one server share."""

    shelf: Shelf
    verified: Verified

    def answers_to(self, host: str) -> bool:
        """Whether this is a name of ours. A web page elsewhere must not read us through a browser."""

    def answer(self, question: Question) -> Reply:
        """The reply of whichever view it is for; raises Refused or Missing."""

    def sent(self, line: str, n_bytes: int) -> None:
        """Hears of every answer."""


class Requests(BaseHTTPRequestHandler):
    """One connection. `mirror` is set by the server."""

    mirror: Mirror
    protocol_version = "HTTP/1.1"
    server_version = f"holdfast/{__version__}"
    sys_version = ""
    timeout = SILENCE_SECONDS
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answers, whatever happens, in one way or the other."""
        self._refuse_body()
        try:
            reply = self._reply()
            self._send_held(reply, reply.body) if isinstance(reply.body, Held) else self._send(200, reply)
        except Missing as error:
            self._fail(404, error.message, {"X-Error-Code": error.code, "X-Repo-Commit": error.commit})
        except Refused as error:
            self._fail(error.status, error.message, error.headers)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except OSError as error:
            self._fail(503, f"the cache cannot be read: {error.strerror or error}", {})

    def do_HEAD(self) -> None:
        """The same without the body."""
        self.do_GET()

    def _refuse_body(self) -> None:
        """Nobody sends us one; what is not read must not be taken for the next request."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True

    def _reply(self) -> Reply:
        host = self.headers.get("Host", "")
        if not self.mirror.answers_to(host):
            raise Refused(
                403, f"{printable(host)!r:.80} is no name of this server; use its address, or --name"
            )
        try:
            parts = urlsplit(self.path)
            fields = parse_qs(parts.query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
        except ValueError as error:
            raise Refused(400, "the address cannot be understood") from error
        query = {name: values[-1] for name, values in fields.items()}
        return self.mirror.answer(Question(parts.path, query, self.headers, f"http://{host}"))

    # --- known bytes -----------------------------------------------------------------------------------

    def _send(self, status: int, reply: Reply) -> None:
        body = reply.body if isinstance(reply.body, bytes) else b""
        self._head(status, {"Content-Length": str(len(body)), **reply.headers})
        if self.command != "HEAD":
            self.wfile.write(body)
        self.mirror.sent(self._line(status), len(body))

    def _fail(self, status: int, message: str, headers: Mapping[str, str]) -> None:
        words = printable(message)
        told = {name: value for name, value in headers.items() if value}
        told["X-Error-Message"] = words.encode("ascii", "replace").decode("ascii")
        try:
            self._send(
                status,
                Reply(json.dumps({"error": words}).encode(), {"Content-Type": "application/json", **told}),
            )
        except OSError:
            self.close_connection = True

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"X-Content-Type-Options": "nosniff", **headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    # --- files -----------------------------------------------------------------------------------------

    def _send_held(self, reply: Reply, held: Held) -> None:
        headers = {**_describing(held), **reply.headers}
        if _names(self.headers.get("If-None-Match", ""), held.file.etag):
            self._head(304, headers)
            self.mirror.sent(self._line(304), 0)
            return
        with held.local.open("rb") as file:
            status = os.fstat(file.fileno())
            start, end, code = self._range(status.st_size, held.file.etag)
            if self.command != "HEAD":
                headers.update(self._check(held, status))
            if code == 206:
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{status.st_size}"
            self._head(code, {**headers, "Content-Length": str(end - start)})
            sent = self._copy(file, start, end) if self.command != "HEAD" else 0
        self.mirror.sent(self._line(code), sent)

    def _range(self, size: int, etag: str) -> tuple[int, int, int]:
        """First byte, end and status. What is no single range of bytes is answered whole, as RFC 9110 allows."""
        match = _RANGE.match(self.headers.get("Range", "").strip())
        condition = self.headers.get("If-Range")
        if (
            match is None
            or match.group(1, 2) == ("", "")
            or (condition is not None and not _names(condition, etag))
        ):
            return 0, size, 200
        first, last = match.groups()
        start = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        if start >= end:
            raise Refused(416, "the range begins beyond the end", Content_Range=f"bytes */{size}")
        return start, end, 206

    def _check(self, held: Held, status: os.stat_result) -> dict[str, str]:
        verdict, digests = self.mirror.verified.verdict(held, status, wait_seconds=HASH_WAIT_SECONDS)
        if verdict == "pending":
            raise Refused(503, "the file is being hashed before it is served; ask again", Retry_After="2")
        if verdict == "damaged" or digests is None:
            words = "the bytes in this cache are damaged; holdfast check --repair on the serving machine mends them"
            raise Refused(503, words, "BytesUnavailable")
        return {"X-Sha256": digests.sha256}

    def _copy(self, file: BinaryIO, start: int, end: int) -> int:
        """By the kernel where it can. A file that ends early ends the connection."""
        if start == end:
            return 0
        sent: int = self.connection.sendfile(file, start, end - start)
        if sent != end - start:
            self.close_connection = True
        return sent

    # --- what http.server would do otherwise -----------------------------------------------------------

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Of http.server's own refusals: lines too long, unknown methods. Said as all our errors are."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self.requestline = getattr(self, "requestline", "")
        self.request_version = "HTTP/1.1"
        self._fail(405 if code == 501 else code, message or "this request cannot be understood", {})

    def log_message(self, *_: Any) -> None:
        """`Mirror.sent` hears all there is to say."""

    def _line(self, status: int) -> str:
        return printable(f"{self.client_address[0]} {self.command} {self.path:.300} -> {status}")


def _describing(held: Held) -> dict[str, str]:
    file = held.file
    return {
        "ETag": f'"{file.etag}"',
        "X-Linked-Etag": f'"{file.etag}"',
        "X-Linked-Size": str(file.size_bytes),
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


def _names(condition: str, etag: str) -> bool:
    tags = (tag.strip() for tag in condition.split(","))
    return any((tag[2:] if tag.startswith("W/") else tag).strip('"') in (etag, "*") for tag in tags if tag)
