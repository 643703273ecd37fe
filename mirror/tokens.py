"""The access token for each upstream: from the environment, or from its row, where it is sealed.

A sealed token is encrypted (Fernet) with a key that HKDF derives from SECRET_KEY and from the upstream it is for: a
copy of the database is worth nothing without the key, and a token moved to another row cannot be opened, so that
nobody who can write to the table has it sent to a host of their own. HOLDFAST_SECRET_KEY_FALLBACKS opens what older
keys sealed; `seal_again` seals it with the newest.

A token is sent to upstream's own scheme, host and port and nowhere else (mirror/upstream/http.py). It is in no log,
error, manifest or job.
"""

import base64
import re

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from mirror.upstream.base import UpstreamError
from mirror.upstream.guard import authority_of
from registry.models import Upstream

CONTEXT = b"holdfast upstream token v1"
# What may stand in an Authorization header; a line end would begin another header.
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")


class BadToken(UpstreamError):
    """What was given as a token cannot be one. The message does not show it."""

    code = "bad-token"

    def __init__(self, endpoint: str) -> None:
        super().__init__(
            f"the token for {endpoint} cannot be sent: it must be 1 to 4096 printable ASCII characters without spaces. "
            "Set it again with `manage.py upstreams token set`, or in HF_TOKEN or HOLDFAST_UPSTREAM_TOKENS.",
            endpoint=endpoint,
        )


class TokenSealed(UpstreamError):
    """The token cannot be opened with the keys that we have."""

    code = "token-sealed"

    def __init__(self, endpoint: str) -> None:
        super().__init__(
            f"the token kept for {endpoint} was sealed with another secret key. Name that key in "
            "HOLDFAST_SECRET_KEY_FALLBACKS, or set the token again with `manage.py upstreams token set`.",
            endpoint=endpoint,
        )


def token_for(kind: str, endpoint: str) -> str | None:
    """The token to ask that upstream with, if there is one. One query unless the environment has it.

    Raises BadToken and TokenSealed.
    """
    if kind == Upstream.Kind.DIRECTORY:
        return None
    token = token_of_environment(endpoint)
    if token is None:
        row = (
            Upstream.objects.filter(kind=kind, endpoint=endpoint)
            .only("sealed_token", "endpoint", "kind")
            .first()
        )
        token = unseal(row) if row else None
    return _checked(token, endpoint) if token else None


def token_of_environment(endpoint: str) -> str | None:
    """What HOLDFAST_UPSTREAM_TOKENS has for its host, or HF_TOKEN if it is the hub's."""
    authority = authority_of(endpoint)
    for entry in settings.HOLDFAST_UPSTREAM_TOKENS:
        host, _, token = entry.partition("=")
        if authority in (host.lower(), f"{host.lower()}:443"):
            return str(token)
    is_hub = authority == authority_of(settings.HOLDFAST_HUB_ENDPOINT)
    return settings.HF_TOKEN or None if is_hub else None


def _checked(token: str, endpoint: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise BadToken(endpoint)
    return token


# --- sealing ----------------------------------------------------------------------------------------------


def keep_token(upstream: Upstream, token: str) -> None:
    """The upstream's row has the token, sealed; empty: it has none. Raises BadToken."""
    upstream.sealed_token = ""
    if token:
        sealed = _box(upstream).encrypt(_checked(token, upstream.endpoint).encode())
        upstream.sealed_token = sealed.decode()
    upstream.save(update_fields=["sealed_token"])


def unseal(upstream: Upstream) -> str | None:
    """The token that the row keeps, if it keeps one. Raises TokenSealed."""
    if not upstream.sealed_token:
        return None
    try:
        return _box(upstream).decrypt(upstream.sealed_token).decode()
    except InvalidToken:
        raise TokenSealed(upstream.endpoint) from None


def seal_again(upstream: Upstream) -> None:
    """The token is sealed with the newest secret key, so that older ones can be forgotten. Raises TokenSealed."""
    if token := unseal(upstream):
        keep_token(upstream, token)


def _box(upstream: Upstream) -> MultiFernet:
    """Seals with the newest secret key, opens with any."""
    place = f"{upstream.kind} {upstream.endpoint}"
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(_key(key, place)) for key in keys])


def _key(secret: str, place: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=CONTEXT + b"\0" + place.encode())
    return base64.urlsafe_b64encode(derived.derive(secret.encode()))
