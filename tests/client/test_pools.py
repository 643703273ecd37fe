"""Which proxy is asked, what it is told, and which hosts are asked without it."""

from collections.abc import Iterator

import pytest
from holdfast.network.pools import proxy_chooser
from holdfast.network.urls import is_trusted

from tests.client.proxy import Proxy
from tests.client.running import Home
from tests.client.server import HoldfastHub


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(login="ada:p@ss word") as running:
        yield running


@pytest.fixture
def named(proxy: Proxy) -> str:
    return f"http://ada:p%40ss%20word@{proxy.address}"


@pytest.fixture(autouse=True)
def small(hub: HoldfastHub) -> None:
    hub.add("org/small", {"config.json": b"{}"})


def test_a_named_proxy_is_asked_for_everything(home: Home, proxy: Proxy, named: str) -> None:
    path = home.ok("pull", "org/small", "--proxy", named, NO_PROXY="", HOLDFAST_TOKEN="hf_t").path
    assert (path / "config.json").read_bytes() == b"{}"
    assert len(proxy.asked) >= 3
    assert all(line.startswith(f"GET {home.index_url}/") for line in proxy.asked)


def test_a_proxy_in_a_file_is_asked_and_its_password_is_not_shown(
    home: Home, proxy: Proxy, named: str
) -> None:
    home.ok("config", "set", "proxy", named)
    result = home.ok("pull", "-v", "org/small", NO_PROXY="")
    assert proxy.asked
    assert "p@ss" not in result.stderr
    assert "p%40ss" not in result.stderr


@pytest.mark.parametrize("how", ["HTTP_PROXY", "ALL_PROXY", "HOLDFAST_PROXY"])
def test_the_environment_names_a_proxy(home: Home, proxy: Proxy, named: str, how: str) -> None:
    home.ok("pull", "org/small", NO_PROXY="", **{how: named})
    assert proxy.asked


def test_excepted_hosts_are_asked_without_it_and_isolated_ones_with_none(
    home: Home, proxy: Proxy, named: str
) -> None:
    home.ok("pull", "org/small", "--proxy", named, NO_PROXY="example.com,127.0.0.1")
    home.ok("--isolated", "-i", home.index_url, "pull", "org/small", HTTP_PROXY=named, NO_PROXY="")
    assert proxy.asked == []


def test_a_proxy_that_refuses_or_is_not_there_is_an_error_that_shows_no_password(
    home: Home, proxy: Proxy
) -> None:
    for address, code in ((proxy.address, "auth"), ("127.0.0.1:9", "network")):
        error = home.fails(
            code, "pull", "org/small", "--retries", "0", "--proxy", f"ada:wrong@{address}", NO_PROXY=""
        )
        assert "wrong" not in str(error)


def test_a_named_proxy_minds_the_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "inside.example,127.0.0.1")
    choose = proxy_chooser("http://proxy:3128")
    assert choose("https://outside.example/x") == "http://proxy:3128"
    assert choose("https://deep.inside.example:8443/x") is None


def test_a_trusted_host_is_that_host_and_if_said_that_port() -> None:
    assert is_trusted("https://Models.example/x", ("models.example",))
    assert is_trusted("https://models.example/x", ("models.example:443",))
    assert is_trusted("https://[::1]:81", ("[::1]:81",))
    assert not is_trusted("https://models.example:8443", ("models.example:443",))
    assert not is_trusted("https://models.example.evil", ("models.example",))
    assert not is_trusted("https://evil/models.example", ("models.example",))
