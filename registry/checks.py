"""Wrong configuration, found before anything starts. Each finding has an id and the remedy."""

import re
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as Caution

from mirror.blobs import store_from_url
from mirror.blobs.store import StoreError
from mirror.upstream import UpstreamError, parse_hub
from mirror.upstream.guard import authority_of
from registry.management.base import OURS

_HOST_PORT = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:]+\](:\d{1,5})?")


@register(OURS)
def storage_can_be_named(**_: Any) -> Iterable[CheckMessage]:
    """HOLDFAST_BLOBS names a store of a kind that we know. `check_storage` then asks the store itself."""
    try:
        store_from_url(settings.HOLDFAST_BLOBS)
    except (StoreError, ValueError) as error:
        hint = "file:///absolute/path or s3://bucket/prefix?endpoint=https://… (docs/operate.md)"
        return [Error(f"HOLDFAST_BLOBS cannot be used: {error}", hint=hint, id="holdfast.E001")]
    return []


@register(OURS)
def upstreams_are_well_formed(**_: Any) -> Iterable[CheckMessage]:
    """The lists of allowed addresses and of tokens can be read as such."""
    found: list[CheckMessage] = []
    for item in settings.HOLDFAST_UPSTREAM_ALLOW:
        if not _HOST_PORT.fullmatch(item):
            found.append(
                Error(
                    f"HOLDFAST_UPSTREAM_ALLOW has {item!r}",
                    hint="host:port, comma-separated",
                    id="holdfast.E002",
                )
            )
    for item in settings.HOLDFAST_UPSTREAM_TOKENS:
        host, equals, token = item.partition("=")
        if not (equals and token and _HOST_PORT.fullmatch(host)):
            hint = "host=token or host:port=token, comma-separated"
            found.append(
                Error("HOLDFAST_UPSTREAM_TOKENS has an unreadable entry", hint=hint, id="holdfast.E003")
            )
    return found


@register(OURS)
def pull_through_names_hubs(**_: Any) -> Iterable[CheckMessage]:
    """Every entry of HOLDFAST_PULL_THROUGH is a hub, without a repo."""
    hint = "hf:// or hf+https://host[:port], comma-separated, in the order in which they are to be asked"
    found: list[CheckMessage] = []
    for text in settings.HOLDFAST_PULL_THROUGH:
        try:
            authority_of(parse_hub(text))
        except UpstreamError as error:
            message = f"HOLDFAST_PULL_THROUGH has {text!r}: {getattr(error, 'why', error)}"
            found.append(Error(message, hint=hint, id="holdfast.E005"))
    return found


@register(OURS)
def leases_outlive_heartbeats(**_: Any) -> Iterable[CheckMessage]:
    """A lease that one late heartbeat can lose makes jobs run twice for nothing."""
    if settings.HOLDFAST_LEASE_SECONDS < 2 * settings.HOLDFAST_HEARTBEAT_SECONDS:
        hint = "set HOLDFAST_LEASE_SECONDS to at least three times HOLDFAST_HEARTBEAT_SECONDS"
        return [Caution("the lease is shorter than two heartbeats", hint=hint, id="holdfast.W001")]
    return []


@register(OURS)
def broker_reaches_every_machine(**_: Any) -> Iterable[CheckMessage]:
    """A broker in a local folder cannot nudge workers of another machine."""
    on_one_machine = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
    if settings.BROKER_URL.startswith("filesystem:") and not on_one_machine:
        hint = "set HOLDFAST_BROKER=redis://host:6379/0, or ignore this if every process runs on this machine"
        return [
            Caution("PostgreSQL with a broker that only this machine sees", hint=hint, id="holdfast.W002")
        ]
    return []


@register(OURS)
def wanted_recipes_exist(**_: Any) -> Iterable[CheckMessage]:
    """HOLDFAST_AUTO_CONVERT names file types that we can make."""
    if not settings.HOLDFAST_AUTO_CONVERT:
        return []
    from conversion.naming.file_types import FILE_TYPES  # numpy and gguf, for those who use the setting

    hint = f"file types, comma-separated: {', '.join(FILE_TYPES)}"
    return [
        Error(f"HOLDFAST_AUTO_CONVERT has {name!r}", hint=hint, id="holdfast.E004")
        for name in settings.HOLDFAST_AUTO_CONVERT
        if name.upper() not in FILE_TYPES
    ]
