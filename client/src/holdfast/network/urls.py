"""Addresses: what makes two URLs one place, and how a URL is shown. Light to import, unlike `transport`."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from holdfast.text import printable

Origin = tuple[str, str, int]


def origin(url: str) -> Origin:
    """Scheme, host and port: what must be equal for two URLs to be one place."""
    parts = urlsplit(url)
    return (
        parts.scheme.lower(),
        (parts.hostname or "").lower(),
        parts.port or (443 if parts.scheme == "https" else 80),
    )


def show_origin(place: Origin) -> str:
    """`https://host`, with the port where it is not the usual one."""
    scheme, host, port = place
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port == (443 if scheme == "https" else 80) else f"{scheme}://{name}:{port}"


def show_url(url: str) -> str:
    """The URL without its query (which may hold a signature), safe to print."""
    return printable(urlsplit(url)._replace(query="", fragment="").geturl())


def is_loopback(url: str) -> bool:
    """Whether the URL leads to this machine and nowhere else."""
    host = (urlsplit(url).hostname or "").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_trusted(url: str, trusted_hosts: Collection[str]) -> bool:
    """Whether the URL's host, alone or with its port, is among those that need no valid certificate."""
    _scheme, host, port = origin(url)
    name = f"[{host}]" if ":" in host else host
    return bool({host, name, f"{name}:{port}"} & set(trusted_hosts))
