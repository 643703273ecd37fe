"""A commit object is taken from upstreams that speak git, and what they send instead harms nobody."""

import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from dulwich.object_format import SHA1
from dulwich.pack import pack_header_chunks, pack_object_header
from dulwich.protocol import pkt_line

from mirror.upstream.errors import BadAnswer
from mirror.upstream.git import MOST_BYTES, fetch_commit
from mirror.upstream.http import Http

pytestmark = pytest.mark.one_backend

COMMIT = b"tree " + b"a" * 40 + b"\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nHello\n"
OFFER = [b"# service=git-upload-pack\n", None, b"version 2\n", b"ls-refs\n", b"fetch=shallow filter\n", None]
HASH = "ab" * 20


def packets(*lines: bytes | None) -> bytes:
    return b"".join(pkt_line(line) for line in lines)


def packed(body: bytes, *, kind: int = 1, size: int | None = None, n_objects: int = 1) -> bytes:
    """The answer to a fetch: a pack with this object, which announces `size` bytes."""
    header = pack_object_header(kind, None, len(body) if size is None else size, SHA1)
    pack = b"".join(pack_header_chunks(n_objects)) + bytes(header) + zlib.compress(body) + bytes(20)
    return packets(b"shallow-info\n", b"shallow " + HASH.encode()) + b"0001" + packets(
        b"packfile\n", b"\x02counting\n", *(b"\x01" + pack[at : at + 999] for at in range(0, len(pack), 999)), None
    )  # fmt: skip


class Upstream(ThreadingHTTPServer):
    """Answers the two requests with what the test put here."""

    offer: bytes = packets(*OFFER)
    answer: bytes = packed(COMMIT)
    status = 200
    content_type = "application/x-git-upload-pack-result"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.asked: list[tuple[str, str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fetch(self) -> bytes | None:
        return fetch_commit(
            Http(self.url, token="secret", allow=frozenset()), f"{self.url}/org/name.git", HASH
        )


class Requests(BaseHTTPRequestHandler):
    server: Upstream

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._send(200, self.server.offer, "application/x-git-upload-pack-advertisement")

    def do_POST(self) -> None:
        self._send(self.server.status, self.server.answer, self.server.content_type)

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.asked.append((self.path, self.headers["Git-Protocol"], sent))
        self.send_response(status)
        for name, value in (
            ("Content-Type", content_type),
            ("Content-Length", len(body)),
            ("Location", "/other"),
        ):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_only_the_commit_is_asked_for(upstream: Upstream) -> None:
    assert upstream.fetch() == COMMIT
    (offer, version, _), (fetch, _, body) = upstream.asked
    assert (offer, version) == ("/org/name.git/info/refs?service=git-upload-pack", "version=2")
    assert fetch == "/org/name.git/git-upload-pack"
    for line in ("filter tree:0", "deepen 1", f"want {HASH}", "done"):
        assert pkt_line(f"{line}\n".encode()) in body


@pytest.mark.parametrize(
    "offer",
    [packets(*(line for line in OFFER if line != b"fetch=shallow filter\n"), b"fetch=shallow\n"),
     packets(b"# service=git-upload-pack\n", None, HASH.encode() + b" HEAD\0filter shallow", None)],
    ids=["without filters", "version 0"],
)  # fmt: skip
def test_an_upstream_that_would_send_everything_is_not_asked(upstream: Upstream, offer: bytes) -> None:
    upstream.offer = offer
    assert upstream.fetch() is None
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("how", [{"status": 404}, {"status": 302}, {"content_type": "text/html"}])
def test_what_is_no_answer_of_gits_is_nothing(upstream: Upstream, how: dict[str, Any]) -> None:
    for name, value in how.items():
        setattr(upstream, name, value)
    assert upstream.fetch() is None
    assert len(upstream.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"zzzz", packets(b"ERR not our ref"), packed(COMMIT)[:-60], packed(COMMIT, kind=3),
        packed(COMMIT, n_objects=2), packed(bytes(50 << 20), size=10), packed(COMMIT, size=MOST_BYTES + 1),
        packed(COMMIT, size=len(COMMIT) + 1), bytes(MOST_BYTES + 1),
    ],
)  # fmt: skip
def test_what_is_no_pack_of_one_commit_is_refused(upstream: Upstream, answer: bytes) -> None:
    upstream.answer = answer
    with pytest.raises(BadAnswer):
        upstream.fetch()
