"""The one place where a transport is made from the settings: every command that talks to an index asks here."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Callable

from holdfast.errors import UsageError
from holdfast.network.limiting import limit_of_process
from holdfast.network.pools import Trust, proxy_chooser
from holdfast.network.transport import Transport
from holdfast.output import Output
from holdfast.settings import Settings
from holdfast.text import printable


def open_transport(url: str, settings: Settings, out: Output) -> Transport:
    """A transport to the index at the URL, with the token that is for it if there is one. Connects nowhere yet.

    Raises UsageError for a certificate that cannot be read.
    """
    return open_transport_with(settings.token_for(url), url, settings, out)


def open_transport_with(token: str | None, url: str, settings: Settings, out: Output) -> Transport:
    """As `open_transport`, with this token."""
    return Transport(
        url,
        token,
        timeout_seconds=settings.timeout_seconds,
        connections=settings.max_workers + 1,
        proxy_for=proxy_chooser(settings.proxy),
        trust=_trust(settings),
        limit=None if settings.limit_rate is None else limit_of_process(settings.limit_rate),
        trace=_trace(out),
    )


def _trace(out: Output) -> Callable[[str], None] | None:
    return out.trace if out.traces else None


def _trust(settings: Settings) -> Trust:
    if settings.cert is not None:
        _check("--cert", settings.cert, _load_authorities)
    if settings.client_cert is not None:
        certificate, key = settings.client_cert
        _check("--client-cert", certificate, lambda path: _load_our_own(path, key))
    return Trust(settings.cert, settings.client_cert, settings.trusted_hosts)


def _check(named: str, path: Path, load: Callable[[Path], None]) -> None:
    """Whether it can be used is asked before anybody is connected to: later it would look like a network error."""
    try:
        load(path)
    except (OSError, ValueError) as error:  # ssl's errors are OSErrors
        reason = error.strerror or "it cannot be read" if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"{named}: {printable(path)}: {printable(reason)}",
            hint="holdfast config list shows where it is set.",
        ) from error


def _load_authorities(path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if path.is_dir():
        context.load_verify_locations(capath=path)
    else:
        context.load_verify_locations(cafile=path)


def _load_our_own(certificate: Path, key: Path | None) -> None:
    def refuse() -> str:
        raise ValueError("its key has a password: give one without, that only you can read")

    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=refuse)
