"""The indexes: reachable and what they are, the token, the clock, proxies and certificate authorities."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from holdfast.diagnosing import FAIL, OK, WARN, Finding
from holdfast.errors import HoldfastError
from holdfast.network.connecting import open_transport
from holdfast.network.pools import proxy_chooser
from holdfast.network.transport import MAX_JSON_BYTES, Transport
from holdfast.network.urls import is_loopback, is_trusted, show_url
from holdfast.output import Output
from holdfast.settings import Settings
from holdfast.text import format_seconds, printable

MOST_SKEW_SECONDS = 60.0
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class _Heard:
    """One answer: its status, its body if that is JSON, how long it took, and the server's clock less ours."""

    status: int
    body: Any
    seconds: float
    skew_seconds: float | None


def check(settings: Settings, out: Output) -> Iterator[Finding]:
    """Asks every index at most three questions."""
    yield _authorities(settings, os.environ)
    if settings.offline:
        yield Finding("index", OK, "not asked: offline")
        return
    if not settings.indexes:
        yield Finding("index", OK, "none: --no-index")
    for url in settings.indexes:
        yield from _index(url, settings, out)


def _index(url: str, settings: Settings, out: Output) -> Iterator[Finding]:
    shown = show_url(url)
    yield _proxy(url, settings)
    try:
        transport = open_transport(url, settings, out)
        own = _ask(transport, f"{url}/api/holdfast/v1/openapi.json")
        hub = own if _is_ours(own) else _ask(transport, f"{url}/api/models?limit=1")
        kind = _kind(own, hub)
        if kind is None:
            words = f"{shown} answered {hub.status}, and not as an index of models does"
            yield Finding(
                "index", FAIL, words, "Check the address; a login page or a proxy may be in between."
            )
            return
        yield Finding("index", OK, f"{shown} is {kind}, {hub.seconds * 1000:.0f} ms")
        yield from _clock(hub.skew_seconds, shown)
        yield _token(transport, url, settings)
    except HoldfastError as error:
        yield Finding("index", FAIL, printable(error.message), error.hint)


def _ask(transport: Transport, url: str) -> _Heard:
    started, at = time.monotonic(), time.time()
    with transport.open(url) as answer:
        took = time.monotonic() - started
        body = None
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(answer.read_all(MAX_JSON_BYTES))
        return _Heard(answer.status, body, took, _skew(answer.headers, at + took / 2))


def _skew(headers: Mapping[str, str], at: float) -> float | None:
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp() - at
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _is_ours(heard: _Heard) -> bool:
    return heard.status == 200 and isinstance(heard.body, dict) and "openapi" in heard.body


def _kind(own: _Heard, hub: _Heard) -> str | None:
    if _is_ours(own):
        return "a Holdfast server"
    return "a Hub-compatible index" if hub.status == 200 and isinstance(hub.body, list) else None


def _clock(skew: float | None, shown: str) -> Iterator[Finding]:
    """A Date header has whole seconds; what is within a minute harms nobody."""
    if skew is None:
        return
    if abs(skew) <= MOST_SKEW_SECONDS:
        yield Finding("clock", OK, "agrees with the index")
        return
    way = "behind" if skew > 0 else "ahead of"
    words = f"this machine's clock is {format_seconds(abs(skew))} {way} that of {shown}"
    yield Finding("clock", WARN, words, "Set the clock: signed addresses and certificates depend on it.")


def _token(transport: Transport, url: str, settings: Settings) -> Finding:
    if settings.token_for(url) is None:
        return Finding("token", OK, "none: public repos only")
    heard = _ask(transport, f"{url}/api/whoami-v2")
    if heard.status == 200 and isinstance(heard.body, dict):
        return Finding("token", OK, f"accepted as {printable(heard.body.get('name'))}")
    if heard.status in (401, 403):
        hint = "Set HOLDFAST_TOKEN (or HF_TOKEN) to another one; an index answers 401 to a wrong token everywhere."
        return Finding("token", FAIL, f"not accepted ({heard.status})", hint)
    return Finding("token", WARN, f"the index does not say whose it is ({heard.status})")


def _proxy(url: str, settings: Settings) -> Finding:
    proxy = proxy_chooser(settings.proxy)(url)
    if proxy is None:
        return Finding("proxy", OK, f"none for {show_url(url)}")
    host = urlsplit(proxy).netloc.rpartition("@")[2]
    if is_loopback(url):
        words = f"{printable(host)} is asked for {show_url(url)}, which is this machine"
        return Finding("proxy", WARN, words, "Add the host to NO_PROXY.")
    return Finding("proxy", OK, f"{printable(host)} for {show_url(url)}")


def _authorities(settings: Settings, environ: Mapping[str, str]) -> Finding:
    """`--cert` must exist or nothing can be asked at all, so only variables can be wrong here."""
    unchecked = [url for url in settings.indexes if is_trusted(url, settings.trusted_hosts)]
    if unchecked:
        words = f"the certificate of {show_url(unchecked[0])} is not checked"
        return Finding(
            "certificates", WARN, words, "Give its authority with --cert instead of --trusted-host."
        )
    if settings.cert is not None:
        return Finding("certificates", OK, f"authorities of {printable(settings.cert)}")
    named = [(name, environ[name]) for name in _CA_VARIABLES if environ.get(name)]
    for name, value in named:
        if not Path(value).exists():
            return Finding(
                "certificates", FAIL, f"{name} names {printable(value)}, which is not there", f"Unset {name}."
            )
    if named:
        return Finding("certificates", OK, f"authorities of {printable(named[0][1])} ({named[0][0]})")
    paths = ssl.get_default_verify_paths()
    return Finding(
        "certificates",
        OK,
        f"authorities of the system ({printable(paths.cafile or paths.capath or 'its store')})",
    )
