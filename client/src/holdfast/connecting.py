"""The one place where a transport is made from the settings: every command that talks to an index asks here."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from holdfast.errors import UsageError
from holdfast.limiting import limit_of_process
from holdfast.output import Output
from holdfast.pools import Trust, proxy_chooser
from holdfast.settings import Settings
from holdfast.text import printable
from holdfast.transport import Transport


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
        _check_there("--cert", settings.cert)
    for path in settings.client_cert or ():
        if path is not None:
            _check_there("--client-cert", path)
    return Trust(settings.cert, settings.client_cert, settings.trusted_hosts)


def _check_there(named: str, path: Path) -> None:
    if not path.exists():
        raise UsageError(
            f"{named}: there is no {printable(path)}", hint="holdfast config list shows who set it"
        )
