"""Connections: which proxy a URL is asked through, which certificates are believed, and which one is ours.

- A proxy that is named (`--proxy`) is for every host but those in NO_PROXY; without one the environment decides.
- `cert` takes the place of the system's authorities. A trusted host's certificate is not looked at, and only its.
- Our own certificate is shown to a server that asks for one in its handshake, and to no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Union
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import InsecureRequestWarning

from holdfast.network.plain_http import PlainAnswer, PlainHost
from holdfast.network.urls import Origin, is_trusted, origin

MAX_ORIGINS = 64  # a manager closes the pools of hosts beyond; we forget ours at half as many

Response = Union[urllib3.BaseHTTPResponse, PlainAnswer]
Host = Union[urllib3.PoolManager, urllib3.HTTPConnectionPool, PlainHost]


@dataclass(frozen=True)
class Trust:
    """Whom we believe, and who we are."""

    cert: Path | None = None
    client_cert: tuple[Path, Path | None] | None = None
    trusted_hosts: tuple[str, ...] = ()


class Pools:
    """Kept connections, apart for each proxy and for the hosts that need no certificate. Safe between threads."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        connections: int,
        proxy_for: Callable[[str], str | None],
        trust: Trust,
    ) -> None:
        self._proxy_for = proxy_for
        self._trust = trust
        self._timeout_seconds = timeout_seconds
        self._options: dict[str, Any] = {
            "num_pools": MAX_ORIGINS,
            "maxsize": connections,
            "retries": False,
            "timeout": urllib3.Timeout(connect=timeout_seconds, read=timeout_seconds),
            **_certificates(trust),
        }
        self._pools: dict[tuple[str | None, bool], urllib3.PoolManager] = {}
        self._hosts: dict[Origin, Host] = {}

    def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """GETs the URL, body still on the wire, redirects not followed. Raises what urllib3 raises.

        Who is asked is settled once per origin: the environment's proxies and the parts of a URL cost half a
        millisecond each time, which a thousand small files feel.
        """
        place = origin(url)
        host = self._hosts.get(place)
        if host is None:
            if len(self._hosts) >= MAX_ORIGINS // 2:
                self._hosts.clear()
            host = self._hosts[place] = self._host(url, place)
        if isinstance(host, urllib3.PoolManager):
            return host.request("GET", url, headers=headers, redirect=False, preload_content=False)
        path = urlsplit(url)._replace(scheme="", netloc="", fragment="").geturl() or "/"
        path = path if path.startswith("/") else f"/{path}"
        if isinstance(host, PlainHost):
            return host.get(path, headers)
        return host.urlopen("GET", path, headers=headers, redirect=False, preload_content=False)

    def _host(self, url: str, place: Origin) -> Host:
        """What asks one host; where a proxy is told the whole URL, that proxy's manager."""
        manager = self.manager(url)
        scheme, name, port = place
        if isinstance(manager, urllib3.ProxyManager):
            return manager
        if scheme == "https":
            return manager.connection_from_host(name, port, scheme)
        return PlainHost(
            name, port, timeout_seconds=self._timeout_seconds, connections=self._options["maxsize"]
        )

    def manager(self, url: str) -> urllib3.PoolManager:
        """What asks for the URL, by whichever method."""
        key = (self._proxy_for(url), is_trusted(url, self._trust.trusted_hosts))
        if key not in self._pools:
            self._pools[key] = self._open(*key)
        return self._pools[key]

    def _open(self, proxy: str | None, trusted: bool) -> urllib3.PoolManager:
        options = self._options
        if trusted:
            urllib3.disable_warnings(InsecureRequestWarning)  # the person has said so, once is enough
            options = {**options, "cert_reqs": "CERT_NONE", "assert_hostname": False}
        if proxy is None:
            return urllib3.PoolManager(**options)
        address, headers = _proxy_login(proxy)
        return urllib3.ProxyManager(address, proxy_headers=headers, **options)


def _certificates(trust: Trust) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    if trust.cert is not None:
        found["ca_cert_dir" if trust.cert.is_dir() else "ca_certs"] = str(trust.cert)
    if trust.client_cert is not None:
        certificate, key = trust.client_cert
        found["cert_file"], found["key_file"] = str(certificate), None if key is None else str(key)
    return found


def _proxy_login(proxy: str) -> tuple[str, dict[str, str]]:
    """The address without the name and password in it, and the header that says them to the proxy alone."""
    parts = urlsplit(proxy)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return proxy, {}
    return parts._replace(netloc=host).geturl(), urllib3.make_headers(proxy_basic_auth=unquote(login))


def proxy_chooser(named: str | None) -> Callable[[str], str | None]:
    """What tells the proxy for a URL: the one that is named, or what the environment says."""
    return proxy_from_environment if named is None else lambda url: None if _is_excepted(url) else named


def _is_excepted(url: str) -> bool:
    from urllib.request import proxy_bypass

    return bool(proxy_bypass(urlsplit(url).netloc.rpartition("@")[2]))


def proxy_from_environment(url: str) -> str | None:
    """HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as the standard library reads them."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies()
    if not proxies or (parts.hostname and proxy_bypass(parts.netloc.rpartition("@")[2])):
        return None
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"
