"""HTTP to an upstream: every hop checked, the token only to upstream's own host, failures named.

Redirects are followed by hand. Each hop goes through `guard.check_url` and to the very address it checked;
Authorization is sent only while scheme, host and port are those of the endpoint. Each request to the endpoint takes
its turn in the `Pace` first. What failed is named without its query, in which presigned URLs carry a signature.
"""

import json
import random
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from mirror.upstream.errors import AddressRefused, BadAnswer, RateLimited, UpstreamUnavailable
from mirror.upstream.guard import Target, authority_of, check_url
from mirror.upstream.pace import Pace, Unpaced, allowance_of

USER_AGENT = "holdfast/0.1"
MAX_REDIRECTS = 5
MAX_JSON_BYTES = 64 << 20
SMALL_BODY_BYTES = 64 << 10
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
# Tries of one small request. Longer trouble is the job's affair: it goes back to the queue and waits there.
ATTEMPTS = 3
FIRST_WAIT_SECONDS = 0.3
# What we make of a 429 that does not say how long, or says nonsense; and the longest we believe.
USUAL_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 60.0, 3600.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TROUBLE = frozenset({408, 500, 502, 503, 504})

Response = urllib3.BaseHTTPResponse


@dataclass(frozen=True, slots=True)
class Timeouts:
    connect_seconds: float = CONNECT_SECONDS
    read_seconds: float = READ_SECONDS


class Http:
    """Connections to one upstream and to where it redirects. Shared by threads."""

    def __init__(
        self, endpoint: str, *, token: str | None, allow: frozenset[str], timeouts: Timeouts | None = None,
        pace: Pace | None = None,
    ) -> None:  # fmt: skip
        self.where = authority_of(endpoint)
        self._scheme = urlsplit(endpoint).scheme
        self._token = token
        self._pace = pace or Unpaced()
        self._trusted = frozenset({self.where, *(name.lower() for name in allow)})
        timeouts = timeouts or Timeouts()
        self._timeout = urllib3.Timeout(connect=timeouts.connect_seconds, read=timeouts.read_seconds)
        self._pools: dict[str, tuple[Target, list[urllib3.HTTPConnectionPool]]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Response]:
        """The answer after all redirects, its body unread; closed at the end. One try.

        Raises RateLimited for 429, and before anything is sent when it is not our turn soon; UpstreamUnavailable for
        5xx and for anything that goes wrong with the connection; AddressRefused. Any other status is the caller's to
        judge.
        """
        try:
            with self._answer(url, dict(headers or {})) as response:
                yield response
        except UpstreamUnavailable as error:
            self._pace.failed(error.reason)
            raise

    @contextmanager
    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Iterator[Response]:
        """The answer to these bytes, as `get` gives it; a redirect is not followed, but the caller's to judge."""
        try:
            with self._answer(url, dict(headers), body) as response:
                yield response
        except UpstreamUnavailable as error:
            self._pace.failed(error.reason)
            raise

    @contextmanager
    def _answer(self, url: str, headers: dict[str, str], body: bytes | None = None) -> Iterator[Response]:
        response = self._follow(url, headers) if body is None else self._send(url, headers, body)
        try:
            self._refuse_trouble(response, url)
            yield response
        except HTTPError as error:
            raise UpstreamUnavailable(self.where, _shown(url), _reason(error)) from error
        finally:
            response.close()

    def get_json(self, url: str) -> tuple[int, Mapping[str, str], Any]:
        """Status, headers and parsed body of a small answer. Tries again a few times when upstream is in trouble.

        An error's body need not be JSON: it is None then.
        """
        for attempt in range(ATTEMPTS):
            try:
                return self._get_json_once(url)
            except UpstreamUnavailable:
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(wait_before(attempt))
        raise AssertionError("unreachable")

    def _get_json_once(self, url: str) -> tuple[int, Mapping[str, str], Any]:
        with self.get(url, {"Accept": "application/json"}) as response:
            body = response.read(MAX_JSON_BYTES + 1)
            if len(body) > MAX_JSON_BYTES:
                raise BadAnswer(self.where, _shown(url), f"more than {MAX_JSON_BYTES} bytes")
            try:
                return response.status, response.headers, json.loads(body)
            except (ValueError, RecursionError):
                if response.status == 200:
                    raise BadAnswer(self.where, _shown(url), f"not JSON but {bytes(body[:40])!r}") from None
                return response.status, response.headers, None

    # --- one hop after the other --------------------------------------------------------------------------

    def _follow(self, url: str, headers: dict[str, str]) -> Response:
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(url, headers)
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or not location:
                return response
            _let_go(response)
            following = urljoin(url, location)
            self._refuse_downgrade(url, following)
            url = following
        raise UpstreamUnavailable(self.where, _shown(url), f"more than {MAX_REDIRECTS} redirects")

    def _refuse_downgrade(self, url: str, following: str) -> None:
        before, after = urlsplit(url).scheme, urlsplit(following).scheme
        if before == "https" and after == "http" and authority_of(following) not in self._trusted:
            raise AddressRefused(
                _shown(following), f"{_shown(url)} redirects from https to http", authority_of(following)
            )

    def _send(self, url: str, headers: dict[str, str], body: bytes | None = None) -> Response:
        """One request, a POST if it has a body.

        To upstream itself it is sent in its turn and with the token; to other hosts, with neither.
        """
        target, pools = self._pools_for(url)
        if (target.scheme, target.authority) != (self._scheme, self.where):
            return self._urlopen(url, headers, body, target, pools)
        self._pace.take_turn()
        token = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        response = self._urlopen(url, headers | token, body, target, pools)
        if response.status < 500 and response.status not in (408, 429):
            self._pace.answered(allowance_of(response.headers))
        return response

    def _urlopen(
        self, url: str, headers: dict[str, str], body: bytes | None, target: Target,
        pools: list[urllib3.HTTPConnectionPool],
    ) -> Response:  # fmt: skip
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Host": parts.netloc, **headers}
        failure: Exception | None = None
        for pool in pools:
            try:
                return pool.urlopen(
                    "GET" if body is None else "POST", path, body=body, headers=sent, retries=False, redirect=False,
                    preload_content=False, decode_content=False, timeout=self._timeout,
                )  # fmt: skip
            except HTTPError as error:
                failure = error
        raise UpstreamUnavailable(target.authority, _shown(url), _reason(failure)) from failure

    def _pools_for(self, url: str) -> tuple[Target, list[urllib3.HTTPConnectionPool]]:
        """Connections to each checked address of the URL's host, looked up once for the life of this object."""
        origin = f"{urlsplit(url).scheme}://{authority_of(url)}"
        with self._lock:
            if origin not in self._pools:
                target = check_url(_shown(url), self._trusted)
                self._pools[origin] = target, [_pool(target, address) for address in target.addresses]
            return self._pools[origin]

    def _refuse_trouble(self, response: Response, url: str) -> None:
        if response.status == 429 or (response.status in TROUBLE and "Retry-After" in response.headers):
            seconds = seconds_to_wait(response.headers)
            self._pace.refused(seconds)
            raise RateLimited(self.where, seconds)
        if response.status >= 500 or response.status in TROUBLE:
            raise UpstreamUnavailable(self.where, _shown(url), f"status {response.status}")


def _pool(target: Target, address: str) -> urllib3.HTTPConnectionPool:
    """Connections to exactly this address; TLS still proves that it is `target.host`."""
    if target.scheme == "http":
        return urllib3.HTTPConnectionPool(address, target.port, maxsize=16)
    return urllib3.HTTPSConnectionPool(
        address, target.port, maxsize=16, ssl_context=ssl.create_default_context(),
        server_hostname=target.host, assert_hostname=target.host,
    )  # fmt: skip


def _let_go(response: Response) -> None:
    """The connection is free for the next request if the body is small, and closed otherwise."""
    try:
        if response.headers.get("Content-Length", "").isdecimal():
            response.read(SMALL_BODY_BYTES)
    except HTTPError:
        pass
    finally:
        response.close()


def wait_before(attempt: int) -> float:
    """Seconds before the next try: doubling, with jitter so that many workers do not come back together."""
    return FIRST_WAIT_SECONDS * float(2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret


def seconds_to_wait(headers: Mapping[str, str]) -> float:
    """How long a 429 or 503 asks us to wait: seconds or a date; nonsense is a minute, and an hour the longest."""
    allowance = allowance_of(headers)
    wanted = _retry_after(headers.get("Retry-After", "")) or (allowance.seconds if allowance else None)
    return min(max(wanted or USUAL_WAIT_SECONDS, 1.0), LONGEST_WAIT_SECONDS)


def _retry_after(value: str) -> float | None:
    if value.strip().isdecimal():
        return float(value[:12])
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 1.0)
    except (TypeError, ValueError, OverflowError):
        return None


def _shown(url: str) -> str:
    """The URL as errors name it."""
    return url.partition("?")[0]


def _reason(error: Exception | None) -> str:
    """What went wrong with a connection, short enough for a sentence."""
    told = error.args[0] if error and error.args and isinstance(error.args[0], str) else error
    text = str(told).rpartition(": ")[2] if error else "no address"
    return f"{type(error).__name__}: {text}"[:200]
