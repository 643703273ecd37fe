"""Where a redirect led is asked directly for a while, and no longer than it gives bytes."""

import pytest
from holdfast.errors import BadAnswer, NetworkError
from holdfast.network.redirects import KEPT_SECONDS, MAX_KEPT, Redirects, target_of
from holdfast.network.transport import Transport

from tests.client.conftest import SMALL
from tests.client.server import HoldfastHub

PATH = "model.safetensors"


def test_a_target_is_known_for_a_minute_and_not_after_it_failed() -> None:
    now = [0.0]
    redirects = Redirects(lambda: now[0])
    redirects.remember("a", "b")
    redirects.remember("same", "same")
    assert (redirects.known("a"), redirects.known("same"), redirects.known("c")) == ("b", None, None)
    now[0] = KEPT_SECONDS
    assert redirects.known("a") is None
    redirects.remember("a", "b")
    redirects.forget("a")
    assert redirects.known("a") is None


def test_a_server_that_redirects_without_end_fills_no_memory() -> None:
    redirects = Redirects()
    for n in range(10 * MAX_KEPT):
        redirects.remember(str(n), "x")
    assert len(redirects._kept) <= MAX_KEPT


def test_a_target_is_a_web_address_and_never_less_safe() -> None:
    assert target_of("https://a/b/c", "../d") == "https://a/d"
    for location in ("http://a/b", "file:///x", "http://[x"):
        with pytest.raises(BadAnswer):
            target_of("https://a/b", location)


def read(transport: Transport, url: str, start: int) -> bytes:
    with transport.open(url, {"Range": f"bytes={start}-{start + 99}"}) as answer:
        assert answer.status == 206
        return answer.read_all(100)


def test_ranges_after_the_first_ask_the_store_and_not_the_index() -> None:
    with HoldfastHub(cdn=True) as hub:
        url = f"{hub.url}/org/model/resolve/{hub.add('org/model', {PATH: SMALL})}/{PATH}"
        transport = Transport(hub.url, "hf_t", timeout_seconds=5, connections=2, proxy_for=lambda _url: None)
        assert b"".join(read(transport, url, start) for start in (0, 100, 200)) == SMALL[:300]
        assert (len(hub.seen("resolve")), len(hub.seen("cdn"))) == (1, 3)
        assert not any("authorization" in seen.headers for seen in hub.seen("cdn"))


def test_an_expired_address_is_asked_for_anew() -> None:
    with HoldfastHub(cdn=True) as hub:
        url = f"{hub.url}/org/model/resolve/{hub.add('org/model', {PATH: SMALL})}/{PATH}"
        transport = Transport(hub.url, None, timeout_seconds=5, connections=2, proxy_for=lambda _url: None)
        read(transport, url, 0)
        hub.fault("status", on="cdn", status=403, times=1)
        assert read(transport, url, 100) == SMALL[100:200]
        hub.fault("cut", at=10, times=1)
        with pytest.raises(NetworkError):
            read(transport, url, 100)
        assert len(hub.seen("resolve")) == 2
        assert read(transport, url, 100) == SMALL[100:200]
        assert len(hub.seen("resolve")) == 3
