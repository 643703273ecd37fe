"""Log in: a token is shown to its index first, and kept only if the index says whose it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.errors import AuthFailed, BadAnswer, Offline, UsageError
from holdfast.network.connecting import open_transport_with
from holdfast.network.patience import with_patience
from holdfast.network.transport import Answer, Transport, said
from holdfast.network.urls import is_loopback, is_trusted, origin, show_origin
from holdfast.output import Output
from holdfast.settings import Settings
from holdfast.text import printable

MAX_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True)
class Person:
    """Whom an index takes us for."""

    name: str
    organisations: tuple[str, ...]
    token_name: str | None
    role: str | None

    def as_json(self, index_url: str) -> dict[str, Any]:
        """The object that `whoami` prints."""
        token = {"name": self.token_name, "role": self.role}
        return {
            "index": index_url,
            "user": self.name,
            "organisations": list(self.organisations),
            "token": token,
        }


def check_may_log_in(index_url: str, settings: Settings) -> None:
    """Raises UsageError where a token would be sent in the clear, or to where only a stranger's file points."""
    if not settings.index_is_own:
        raise UsageError(
            f"only a project's models.toml names {printable(index_url)}: a token is not sent there unasked",
            hint=f"If it is yours, say so: -i {printable(index_url)}",
        )
    if not index_url.startswith(("http://", "https://")):
        raise UsageError(f"{printable(index_url)} takes no tokens", hint="name an index with -i")
    safe = index_url.startswith("https:") or is_loopback(index_url)
    if not safe and not is_trusted(index_url, settings.trusted_hosts):
        host = show_origin(origin(index_url)).partition("://")[2]
        raise UsageError(
            f"{printable(index_url)} is not https: anybody on the way could read the token",
            hint=f"Use https://, or on a network that you trust --trusted-host {printable(host)}",
        )


def who_am_i(index_url: str, token: str | None, settings: Settings, out: Output) -> Person:
    """Whom the index takes the token for. Raises AuthFailed for a token it does not accept, or for none."""
    place = show_origin(origin(index_url))
    if settings.offline:
        raise Offline(f"only {place} can tell whose a token is", hint="Leave --offline out.")
    if token is None:
        raise AuthFailed(
            f"there is no token for {place}", hint="holdfast login keeps one; HOLDFAST_TOKEN is one."
        )
    transport = open_transport_with(token, index_url, settings, out)
    return with_patience(settings.retries, lambda: _ask(transport, index_url))


def _ask(transport: Transport, index_url: str) -> Person:
    with transport.open(f"{index_url}/api/whoami-v2") as answer:
        if origin(answer.url) != origin(index_url):
            elsewhere = show_origin(origin(answer.url))
            raise BadAnswer(
                f"{printable(index_url)} leads to {printable(elsewhere)}, which was not given the token",
                hint=f"Log in there, if it is the same index: -i {printable(elsewhere)}",
            )
        if answer.status in (401, 403):
            raise AuthFailed(
                f"{show_origin(origin(index_url))} does not accept the token: {said(answer)}",
                hint="Make a new one on the settings page of the index, then: holdfast login",
                url=answer.url,
                status=answer.status,
            )
        return _person(_read(answer, index_url), index_url)


def _read(answer: Answer, index_url: str) -> Mapping[str, Any]:
    try:
        found = json.loads(answer.read_all(MAX_ANSWER_BYTES)) if answer.status == 200 else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _no_hub(index_url, f"status {answer.status}")
    return found


def _person(found: Mapping[str, Any], index_url: str) -> Person:
    try:
        access = (found.get("auth") or {}).get("accessToken") or {}
        names = tuple(printable(one["name"]) for one in found.get("orgs") or ())
        name = found["name"]
        role, label = access.get("role"), access.get("displayName")
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_hub(index_url, "an answer without a name") from error
    if not isinstance(name, str) or not name:
        raise _no_hub(index_url, "an answer without a name")
    return Person(printable(name), names, _shown(label), _shown(role))


def _shown(value: object) -> str | None:
    return printable(value)[:200] if isinstance(value, str) else None


def _no_hub(index_url: str, reason: str) -> BadAnswer:
    return BadAnswer(
        f"{printable(index_url)} does not say whose a token is ({reason})",
        hint="Check the address (-i): is it a Holdfast or another Hub-compatible index?",
        url=index_url,
    )
