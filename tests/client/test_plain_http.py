"""HTTP on a plain socket: what servers may do, what hostile ones do, and which connections are used again."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from holdfast.network.plain_http import BUFFER_BYTES, PlainAnswer, PlainHost
from urllib3.exceptions import ProtocolError

ASK = {"User-Agent": "t"}
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
BAD_HEADS = [
    b"HTTP/1.1 100 Continue\r\n\r\n" * 99, b"HTTP/1.1 000 No\r\n\r\n", b"",
    b"\x00\x01\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300, b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000,
    b"HTTP/1.1 200 OK\r\nA: b\r\n",
]  # fmt: skip


@contextmanager
def serving(*connections: list[bytes]) -> Iterator[tuple[PlainHost, list[bytes]]]:
    """A server that on each connection answers one request with each of the texts and then closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def serve() -> None:
        for answers in connections:
            connection, _ = listener.accept()
            with connection:
                for answer in answers:
                    asked.append(connection.recv(65536))
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    host = PlainHost("127.0.0.1", listener.getsockname()[1], timeout_seconds=5, connections=2)
    with listener:
        yield host, asked


def read(answer: PlainAnswer) -> bytes:
    pieces = list(iter(lambda: answer.read1(5), b""))
    answer.release_conn()
    assert all(len(piece) <= 5 for piece in pieces)
    return b"".join(pieces)


def test_a_connection_is_used_again_after_an_answer_that_was_read() -> None:
    with serving([FINE, FINE, FINE]) as (host, asked):
        assert [read(host.get("/a?b=c", ASK)) for _ in range(3)] == [b"abc"] * 3
    assert [line.partition(b"\r\n")[0] for line in asked] == [b"GET /a?b=c HTTP/1.1"] * 3
    assert b"User-Agent: t\r\n" in asked[0]


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", b"abcdefgh"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\n", b"abcdefgh"),
        (b"HTTP/1.1 200\r\nConnection: Close\r\nContent-Length: 8\r\n\r\n", b"abcdefgh"),
        (b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nConnection: close\n\n",
         b"3\r\nabc\r\n5;x=y\r\ndefgh\r\n0\r\nT: x\r\n\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"abcdefgh"),
    ],
)  # fmt: skip
def test_other_ways_to_end_a_body_and_no_second_use(head: bytes, body: bytes) -> None:
    with serving([head + body], [FINE]) as (host, _asked):
        assert read(host.get("/", ASK)) == b"abcdefgh"
        assert read(host.get("/", ASK)) == b"abc"


def test_chunks_leave_a_connection_that_can_be_used() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    with serving([chunked, FINE]) as (host, _asked):
        assert (read(host.get("/", ASK)), read(host.get("/", ASK))) == (b"a", b"abc")


def test_a_kept_connection_that_the_server_closed_costs_one_more_and_no_error() -> None:
    with serving([FINE], [FINE]) as (host, asked):
        assert read(host.get("/", ASK)) == b"abc"
        assert read(host.get("/", ASK)) == b"abc"
    assert len(asked) == 2


def test_what_is_left_unread_is_not_taken_for_the_next_answer() -> None:
    with serving([FINE], [b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"]) as (host, _asked):
        host.get("/", ASK).release_conn()
        answer = host.get("/", ASK)
        assert answer.status == 404
        answer.close()


def test_a_rest_that_does_not_come_is_no_error_when_it_is_drained() -> None:
    with serving([b"HTTP/1.1 302 Found\r\nContent-Length: 9\r\n\r\nabc"], [FINE]) as (host, _asked):
        answer = host.get("/", ASK)
        answer.drain_conn()
        answer.release_conn()
        assert read(host.get("/", ASK)) == b"abc"


def test_a_short_rest_is_drained_and_a_long_one_is_not() -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BUFFER_BYTES + 1)
    with serving([FINE, long], [FINE]) as (host, asked):
        for _ in range(2):
            answer = host.get("/", ASK)
            answer.drain_conn()
            answer.release_conn()
        assert read(host.get("/", ASK)) == b"abc"
    assert len(asked) == 3


@pytest.mark.parametrize("head", BAD_HEADS)
def test_what_is_not_http_is_refused(head: bytes) -> None:
    with serving([head]) as (host, _asked), pytest.raises(ProtocolError):
        host.get("/", ASK)


@pytest.mark.parametrize(
    "answer",
    [
        b"Content-Length: 9\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
    ],
)  # fmt: skip
def test_a_body_that_is_cut_or_nonsense_is_never_whole(answer: bytes) -> None:
    with serving([b"HTTP/1.1 200 OK\r\n" + answer]) as (host, _asked):
        got = host.get("/", ASK)
        with pytest.raises(ProtocolError):
            read(got)
        got.close()


def test_an_answer_cut_at_any_byte_is_never_whole() -> None:
    for whole in (FINE, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"):
        with serving(*([whole[:cut]] for cut in range(len(whole)))) as (host, _asked):
            for _cut in range(len(whole)):
                with pytest.raises(ProtocolError), closing(host.get("/", ASK)) as answer:
                    read(answer)


def test_nothing_can_be_slipped_into_a_request() -> None:
    with serving([FINE]) as (host, asked):
        with pytest.raises(ValueError, match="line break"):
            host.get("/", {"Authorization": "Bearer x\r\nX-Evil: 1"})
        assert read(host.get("/a b\r\nX-Evil: 1/é", ASK)) == b"abc"
    assert asked[0].startswith(b"GET /a%20b%0D%0AX-Evil:%201/%C3%A9 HTTP/1.1\r\n")


def test_header_names_are_found_in_any_case() -> None:
    with serving([b"HTTP/1.1 200 OK\r\nETag: one\r\neTAG: two\r\nContent-Length: 0\r\n\r\n"]) as (
        host,
        _asked,
    ):
        answer = host.get("/", ASK)
        headers = answer.headers
        answer.release_conn()
    assert (headers["ETAG"], headers.get("etag"), headers.get("x", "-")) == ("one", "one", "-")
    assert sorted(headers) == ["content-length", "etag"]
