"""The door of every endpoint: who asks is known, errors are answers, and cookies change nothing.

@door("GET")
def show(request, user, **names): ...
"""

import base64
import binascii
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from mirror.blobs.store import StoreError
from mirror.hub.errors import HubError, bad_token, warning_for
from registry.access import Somebody
from registry.models import AccessToken

logger = logging.getLogger(__name__)

View = Callable[..., HttpResponseBase]
NOTE_USE_EVERY = timedelta(hours=1)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._=;:-]{1,128}")


def door(
    *methods: str, who: "Callable[[HttpRequest], Somebody] | None" = None
) -> Callable[[View], Callable[..., HttpResponseBase]]:
    """Makes a view of `view(request, user, **names)`: other methods get 405, HubError becomes its answer.

    `who` finds the user where that is not by `authenticate`.

    Exempt from CSRF checks because nothing behind these doors acts on a cookie: a session only lets its owner
    read. GET includes HEAD.
    """
    allowed = set(methods) | ({"HEAD"} if "GET" in methods else set())

    def wrap(view: View) -> Callable[..., HttpResponseBase]:
        @csrf_exempt
        @wraps(view)
        def answer(request: HttpRequest, **names: Any) -> HttpResponseBase:
            response = _answer(view, request, names, allowed, who or authenticate)
            if request_id := _request_id(request):
                response["X-Request-Id"] = request_id
            if warning := warning_for(request):
                response["X-HF-Warning"] = warning
            return response

        return answer

    return wrap


def _answer(
    view: View, request: HttpRequest, names: dict[str, Any], allowed: set[str],
    who: Callable[[HttpRequest], Somebody],
) -> HttpResponseBase:  # fmt: skip
    try:
        if request.method not in allowed:
            allow = ", ".join(sorted(allowed))
            raise HubError(405, f"{request.method} is not possible here, only {allow}.", Allow=allow)
        return view(request, who(request), **names)
    except HubError as error:
        return error.answer()
    except RequestDataTooBig:
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        return HubError(413, f"The body of a request to {request.path} has at most {most} bytes.").answer()
    except StoreError as error:
        logger.exception("%s %s: the blob store failed", request.method, request.path)
        why = (
            f"the blob store could not answer ({error.code}). Try again; its operator finds more in the log."
        )
        return HubError(503, f"{request.path}: {why}").answer()


def authenticate(request: HttpRequest) -> Somebody:
    """Who asks: by token (Bearer, or Basic with the token as password, as git sends it), else by session."""
    header = request.headers.get("Authorization", "")
    if not header:
        user = getattr(request, "user", None)
        return user if user is not None and user.is_authenticated else AnonymousUser()
    token = AccessToken.objects.find(_secret_in(header))
    if token is None:
        raise bad_token()
    _note_use(token)
    return token.user


def token_of(request: HttpRequest) -> AccessToken | None:
    """The token that was sent, for whoami."""
    header = request.headers.get("Authorization", "")
    return AccessToken.objects.find(_secret_in(header)) if header else None


def writer_of(request: HttpRequest) -> User:
    """The user whose token may write. A session is not enough: cookies change nothing here."""
    token = token_of(request)
    if token is None:
        raise HubError(401, "Send an access token that may write: Authorization: Bearer hf_…")
    if token.role != AccessToken.Role.WRITE:
        raise HubError(
            403, "This token may only read. `manage.py token create USER --write` makes one that may write."
        )
    return token.user


def _secret_in(header: str) -> str:
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise bad_token() from None
        return password or name
    raise bad_token()


def _note_use(token: AccessToken) -> None:
    """`token list` shows when each was last used, to the hour: not one write per request."""
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > NOTE_USE_EVERY:
        AccessToken.objects.filter(pk=token.pk).update(last_used_at=now)


def _request_id(request: HttpRequest) -> str:
    """What the client calls this request; error texts show it, so that a log line can be found by it."""
    for name in ("X-Request-Id", "X-Amzn-Trace-Id"):
        if _REQUEST_ID.fullmatch(value := request.headers.get(name, "")):
            return value
    return ""
