"""No URL that a stranger chose makes this service talk to a machine that only we can reach.

Every URL, and every redirect, is checked before a connection is made: http or https only, and every address its
host name has must be public. The connection then goes to the address that was checked, not to the name again, so
a name server that answers differently the second time (DNS rebinding) gains nothing. Two kinds of host:port are
exempt because the operator named them: the upstream's own endpoint, and those in HOLDFAST_UPSTREAM_ALLOW.
"""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from mirror.upstream.errors import AddressRefused, UpstreamUnavailable

DEFAULT_PORTS = {"http": 80, "https": 443}
# How a network without IPv4 reaches the rest (RFC 6052): such an address is as public as the one inside it.
NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads, checked: connect to one of `addresses`, call it `host`."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]

    @property
    def authority(self) -> str:
        return _authority(self.host, self.port)


def authority_of(url: str) -> str:
    """host:port of a URL, with the scheme's default port filled in; an IPv6 host is in brackets."""
    parts = _split(url)
    return _authority(parts[1], parts[2])


def check_url(url: str, trusted: frozenset[str]) -> Target:
    """Where the URL leads, if we may go there. One name lookup.

    Raises AddressRefused, or UpstreamUnavailable when the name has no address.
    """
    scheme, host, port = _split(url)
    authority = _authority(host, port)
    addresses = _look_up(url, host, port)
    if authority not in trusted:
        for address in addresses:
            if why := why_refused(ipaddress.ip_address(address.partition("%")[0])):
                raise AddressRefused(url, f"{host} is {address}, {why}", authority)
    return Target(scheme, host, port, addresses)


def why_refused(address: Address) -> str:
    """What is wrong with this address as a place to fetch from; empty for a public one."""
    inner = _inner(address)
    if inner is not None and (address in NAT64 or why_refused(inner)):
        return why_refused(inner)
    kinds = {
        "loopback": address.is_loopback, "link-local": address.is_link_local, "multicast": address.is_multicast,
        "unspecified": address.is_unspecified, "private": address.is_private, "reserved": address.is_reserved,
    }  # fmt: skip
    for kind, applies in kinds.items():
        if applies:
            return f"a {kind} address"
    return "" if address.is_global else "not a public address"


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _split(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressRefused(url, f"it is not a URL ({error})") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise AddressRefused(url, "only http and https are followed")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused(url, "it carries a user name or password")
    if not host:
        raise AddressRefused(url, "it names no host")
    return parts.scheme, host, port or DEFAULT_PORTS[parts.scheme]


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _look_up(url: str, host: str, port: int) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UpstreamUnavailable(_authority(host, port), url, f"the name has no address ({error})") from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
