"""How often one caller may ask: per token, or per address where no token is sent. Counted by the library `limits`.

| bucket      | requests                                                   |
|-------------|------------------------------------------------------------|
| `api`       | `/api/…`: names, listings, commits                         |
| `resolvers` | bytes: `/resolve/`, `/raw/`, `/v2/`, git and LFS           |
| `pages`     | everything that a person looks at, per address             |
| `sign_in`   | passwords tried at the sign-in page, per address           |
| `tokens`    | tokens that were refused, per address: guessing ends here  |

Every answer says what is left, in the headers of draft-ietf-httpapi-ratelimit-headers that the hub's clients read
(`RateLimit`, `RateLimit-Policy`); a refusal is a 429 with `Retry-After`. Counts lie in Redis where there is one, so
that all processes share them, else in the memory of each. When the counter is away nobody is refused.
"""

import hashlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

logger = logging.getLogger(__name__)

NOT_COUNTED = ("/static/", "/health", "/favicon.ico")
SIGN_IN = "/account/sign-in"
# Pages look at no token, so whoever makes up a new one each time is one address.
WITH_TOKENS = ("api", "resolvers")
PAUSE_SECONDS = 5.0  # without counting, after the counter failed
_BYTES = re.compile(r"^/v2/|^/[^/]+(?:/[^/]+){1,2}/(?:resolve|raw|info|git-upload-pack)\b|\.git/")


@dataclass
class _Counter:
    """The counter of this process, and until when it is left alone because it failed."""

    limiter: FixedWindowRateLimiter
    paused_until: float = 0.0


def limit_rates(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Refuses who asked too often, and tells everybody else how much is left."""

    def respond(request: HttpRequest) -> HttpResponse:
        bucket = bucket_of(request)
        limit = _limit(bucket)
        if limit is None:
            return get_response(request)
        caller = caller_of(request) if bucket in WITH_TOKENS else address_of(request)
        if is_guessing(request) or not _take(limit, bucket, caller):
            return _say(_refusal(request, bucket), limit, bucket, caller)
        response = get_response(request)
        if response.status_code == 401 and request.headers.get("Authorization"):
            _note_refused_token(request)
        return _say(response, limit, bucket, caller)

    return respond


def bucket_of(request: HttpRequest) -> str:
    """Which of the buckets a request is counted in; empty for what is not counted."""
    path = request.path
    if path.startswith(NOT_COUNTED):
        return ""
    if path == SIGN_IN and request.method == "POST":
        return "sign_in"
    if path.startswith("/api/"):
        return "api"
    return "resolvers" if _BYTES.search(path) else "pages"


def caller_of(request: HttpRequest) -> str:
    """Whose requests these are: a token's, known by its digest, or an address's."""
    if said := request.headers.get("Authorization", ""):
        return hashlib.sha256(said.encode()).hexdigest()[:32]
    return address_of(request)


def address_of(request: HttpRequest) -> str:
    """The address that asks: behind HOLDFAST_PROXIES proxies, what the outermost of them wrote down."""
    peer = str(request.META.get("REMOTE_ADDR") or "unknown")
    if not settings.HOLDFAST_PROXIES:
        return peer
    chain = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    return chain[-settings.HOLDFAST_PROXIES] if len(chain) >= settings.HOLDFAST_PROXIES else peer


def is_guessing(request: HttpRequest) -> bool:
    """Whether so many tokens from this address were refused that no more are looked at for now."""
    limit = _limit("tokens")
    if limit is None or not request.headers.get("Authorization"):
        return False
    return not _ask(lambda limiter: limiter.test(limit, "tokens", address_of(request)))


def _note_refused_token(request: HttpRequest) -> None:
    if limit := _limit("tokens"):
        _take(limit, "tokens", address_of(request))


# --- counting -----------------------------------------------------------------------------------------------------


def _limit(bucket: str) -> RateLimitItem | None:
    count, seconds = settings.HOLDFAST_RATE_LIMITS.get(bucket, (0, 1))
    return RateLimitItemPerSecond(count, seconds) if count else None


def _take(limit: RateLimitItem, bucket: str, caller: str) -> bool:
    return _ask(lambda limiter: limiter.hit(limit, bucket, caller))


def _ask(question: Callable[[FixedWindowRateLimiter], bool]) -> bool:
    """The counter's answer; yes while it is away."""
    counter = _counter(settings.HOLDFAST_RATE_LIMIT_STORE)
    if time.monotonic() < counter.paused_until:
        return True
    try:
        return question(counter.limiter)
    except StorageError as error:
        logger.warning("rate limits are not counted for %.0f s: %s", PAUSE_SECONDS, error)
        counter.paused_until = time.monotonic() + PAUSE_SECONDS
        return True


@cache
def _counter(url: str) -> _Counter:
    quick = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5} if url.startswith("redis") else {}
    return _Counter(FixedWindowRateLimiter(storage_from_string(url, wrap_exceptions=True, **quick)))


# --- telling ------------------------------------------------------------------------------------------------------


def _say(response: HttpResponse, limit: RateLimitItem, bucket: str, caller: str) -> HttpResponse:
    counter = _counter(settings.HOLDFAST_RATE_LIMIT_STORE)
    if time.monotonic() < counter.paused_until:
        return response
    try:
        stats = counter.limiter.get_window_stats(limit, bucket, caller)
    except StorageError:
        return response
    seconds = max(int(stats.reset_time - time.time()) + 1, 1)
    response["RateLimit"] = f'"{bucket}";r={max(stats.remaining, 0)};t={seconds}'
    response["RateLimit-Policy"] = f'"fixed window";"{bucket}";q={limit.amount};w={limit.get_expiry()}'
    if response.status_code == 429:
        response["Retry-After"] = str(seconds)
    return response


def _refusal(request: HttpRequest, bucket: str) -> HttpResponse:
    message = f"Too many requests ({bucket}) from this {_whose(request)}. Wait for the seconds that Retry-After says."
    headers = {"X-Error-Message": message, "Cache-Control": "no-store"}
    if bucket in ("pages", "sign_in"):
        return HttpResponse(message, status=429, content_type="text/plain; charset=utf-8", headers=headers)
    body = {"error": message, "errors": [{"code": "TOOMANYREQUESTS", "message": message}]}
    return JsonResponse(body, status=429, headers=headers)


def _whose(request: HttpRequest) -> str:
    return "token" if request.headers.get("Authorization") else "address"
