"""What a query string says, read as leniently as the clients write it; and the Link to the next page."""

import base64
import binascii
from urllib.parse import quote, urlencode, urlsplit

from django.http import HttpRequest, HttpResponse

from mirror.hub.errors import bad_request

YES, NO = {"true", "1", "yes"}, {"false", "0", "no", ""}


def sent_path(request: HttpRequest) -> str | None:
    """The path as it was sent, nothing decoded; None where the server does not keep it."""
    raw = str(request.META.get("RAW_URI") or request.META.get("REQUEST_URI") or "")
    return raw.partition("?")[0] if raw.startswith("/") else urlsplit(raw).path or None


def read_flag(request: HttpRequest, name: str) -> bool:
    """`true` from httpx, `True` from requests, `1` from people."""
    value = request.GET.get(name, "").lower()
    if value not in YES | NO:
        raise bad_request(f"{name}={value} is neither true nor false.")
    return value in YES


def read_values(request: HttpRequest, name: str) -> list[str]:
    """Every value of a repeated key, also in the form `name[]`."""
    return request.GET.getlist(name) + request.GET.getlist(f"{name}[]")


def read_limit(request: HttpRequest, default: int, most: int) -> int:
    """How many entries a page may have: at least 1, at most what we give."""
    value = request.GET.get("limit", "")
    if not value:
        return default
    if not value.isdecimal() or not value.isascii() or len(value) > 9 or int(value) < 1:
        raise bad_request(f"limit={value} is not a number of at least 1.")
    return min(int(value), most)


def read_page_number(request: HttpRequest) -> int:
    """Which page is wanted, from 0, where pages are numbered."""
    value = request.GET.get("p", "0")
    if not value.isascii() or not value.isdecimal() or len(value) > 9:
        raise bad_request(f"p={value} is not the number of a page.")
    return int(value)


def read_cursor(request: HttpRequest) -> str:
    """The text that `link_next` put into the cursor; empty on the first page."""
    value = request.GET.get("cursor", "")
    try:
        text = base64.b64decode(value, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_request("this cursor is not one that we gave; begin again without it.") from None
    if "\0" in text:
        raise bad_request("this cursor is not one that we gave; begin again without it.")
    return text


def link_next(request: HttpRequest, response: HttpResponse, **changes: str) -> None:
    """The response names the next page: absolute, on the host that was asked, with the same query but for changes."""
    query = request.GET.copy()
    for name, value in changes.items():
        query[name] = value
    pairs = [(name, value) for name, values in query.lists() for value in values]
    path = sent_path(request) or quote(request.path)
    url = request.build_absolute_uri(path) + "?" + urlencode(pairs)
    response["Link"] = f'<{url}>; rel="next"'


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()
