"""Which addresses a stranger's URL may lead to."""

import ipaddress
import socket

import pytest

from mirror.upstream.errors import AddressRefused, UpstreamUnavailable
from mirror.upstream.guard import authority_of, check_url, why_refused

NOBODY: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
        "2001:db8::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert why_refused(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_accepted(address: str) -> None:
    assert why_refused(ipaddress.ip_address(address)) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x", "http://localhost:80/x", "http://[::1]/", "http://2130706433/", "http://0x7f.1/",
        "http://127.1:8000/", "https://169.254.169.254/latest/meta-data", "http://[::ffff:7f00:1]/",
    ],
)  # fmt: skip
def test_every_spelling_of_a_local_address_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as refusal:
        check_url(url, NOBODY)
    assert "HOLDFAST_UPSTREAM_ALLOW" in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.org/x", "gopher://x/", "//host/x", "http://", "http://user@8.8.8.8/",
     "http://a:99999/", "http://[bad/", "javascript:alert(1)", ""],
)  # fmt: skip
def test_what_is_not_a_plain_http_url_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url, NOBODY)


def test_only_the_named_port_of_a_named_host_is_exempt() -> None:
    assert check_url("http://127.0.0.1:8001/x", frozenset({"127.0.0.1:8001"})).addresses == ("127.0.0.1",)
    with pytest.raises(AddressRefused):
        check_url("http://127.0.0.1:8002/x", frozenset({"127.0.0.1:8001"}))


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1, a private address"):
        check_url("https://cdn.example.org/x", NOBODY)


def test_a_name_without_an_address_is_unavailable_and_not_a_crash() -> None:
    with pytest.raises(UpstreamUnavailable, match="has no address"):
        check_url("https://no-such-host.invalid/", NOBODY)


def test_the_port_is_part_of_what_was_named() -> None:
    assert authority_of("https://Hub.Example.org/x") == "hub.example.org:443"
    assert authority_of("http://[::1]/x") == "[::1]:80"
