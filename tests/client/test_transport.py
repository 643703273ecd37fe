"""HTTP against a real socket: redirects, proxies, custom pauses, and where the token goes."""

import socket
import threading
from collections.abc import Callable

import pytest
from holdfast.errors import BadAnswer, NetworkError
from holdfast.network.patience import Patience
from holdfast.network.pools import proxy_from_environment
from holdfast.network.transport import Transport, origin, show_url


def once(answer: bytes) -> tuple[str, Callable[[], bytes]]:
    """A server that answers one connection with these bytes; its URL, and what it was asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, listener:
            asked.append(connection.recv(65536))
            connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def request() -> bytes:
        thread.join(10)
        return asked[0]

    return f"http://127.0.0.1:{listener.getsockname()[1]}", request


def transport_for(url: str, proxy: str | None = None) -> Transport:
    return Transport(url, "hf_t", timeout_seconds=5, connections=1, proxy_for=lambda _url: proxy)


def test_a_compressed_answer_is_refused() -> None:
    url, _asked = once(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
    with pytest.raises(BadAnswer, match="gzip"), transport_for(url).open(f"{url}/x"):
        pass


def test_an_answer_without_a_length_is_read_to_its_end() -> None:
    url, asked = once(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcdef")
    with transport_for(url).open(f"{url}/x") as answer:
        assert answer.read_all(100) == b"abcdef"
    assert b"authorization: bearer hf_t\r\n" in asked().lower()


def test_a_longer_answer_than_allowed_is_refused() -> None:
    url, _asked = once(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 1000)
    with transport_for(url).open(f"{url}/x") as answer, pytest.raises(BadAnswer):
        answer.read_all(999)


@pytest.mark.parametrize("garbage", [b"", b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_something_that_is_not_http_is_a_network_error(garbage: bytes) -> None:
    url, _asked = once(garbage)
    with pytest.raises((NetworkError, BadAnswer)), transport_for(url).open(f"{url}/x") as answer:
        answer.read_all(100)


def test_a_proxy_is_asked_for_the_whole_url() -> None:
    proxy, asked = once(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    with transport_for("http://index.invalid", proxy).open("http://index.invalid/x") as answer:
        assert answer.read_all(10) == b"ok"
    assert asked().startswith(b"GET http://index.invalid/x HTTP/1.1")


def test_proxies_come_from_the_environment_with_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "all_proxy", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "proxy:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example,127.0.0.1")
    assert proxy_from_environment("https://outside.example/x") == "http://proxy:3128"
    assert proxy_from_environment("https://inside.example/x") is None
    assert proxy_from_environment("http://outside.example/x") is None


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("HTTPS://Host/a") == origin("https://host:443/b") == ("https", "host", 443)
    assert len({origin(url) for url in ("http://h", "https://h", "http://h:8000", "http://h.x")}) == 4


def test_a_signature_is_never_shown() -> None:
    assert show_url("http://h/p?X-Signature=secret#f") == "http://h/p"


def test_patience_doubles_ends_and_comes_back_with_progress() -> None:
    pauses: list[float] = []
    patience, error = Patience(3, pauses.append), NetworkError("x")
    for _try in range(3):
        patience.wait_or_raise(error)
    with pytest.raises(NetworkError):
        patience.wait_or_raise(error)
    assert all(0.75 <= pause / base <= 1.25 for pause, base in zip(pauses, (0.2, 0.4, 0.8), strict=True))
    patience.progressed()
    patience.wait_or_raise(error)


def test_patience_waits_as_long_as_it_is_told_up_to_a_limit() -> None:
    pauses: list[float] = []
    patience = Patience(3, pauses.append)
    patience.wait_or_raise(NetworkError("x", retry_after_seconds=7.0))
    assert pauses == [7.0]
    with pytest.raises(NetworkError):
        patience.wait_or_raise(NetworkError("x", retry_after_seconds=3600.0))
    with pytest.raises(BadAnswer):
        patience.wait_or_raise(BadAnswer("x"))
