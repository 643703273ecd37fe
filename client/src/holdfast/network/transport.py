"""HTTP to one index: pooled connections, redirects, and the rule where the token may go.

- The token travels only to the scheme, host and port of the index it was configured for. A redirect or a `Link: next`
  that leaves them is followed without it.
- https is never left for http.
- Nothing is decompressed: `Accept-Encoding: identity` is asked for, and anything else is refused.
- What may succeed if sent again raises a `retryable` error; `patience.py` decides how often and when.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Callable

from urllib3.exceptions import HTTPError, ProxyError, SSLError

from holdfast import __version__
from holdfast.errors import AuthFailed, BadAnswer, HoldfastError, NetworkError, RateLimited
from holdfast.network import redirects
from holdfast.network.limiting import Limit
from holdfast.network.pools import Pools, Response, Trust, proxy_from_environment
from holdfast.network.redirects import Redirects
from holdfast.network.urls import origin as origin  # noqa: PLC0414 - those who talk HTTP ask for it here
from holdfast.network.urls import show_url as show_url  # noqa: PLC0414 - as above
from holdfast.text import printable

MAX_REDIRECTS = 5
MAX_JSON_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
USER_AGENT = f"holdfast/{__version__}"
ORDINARY = Trust()
PROXY_HINT = "Tell the proxy who you are: --proxy http://NAME:PASSWORD@HOST:PORT"


@dataclass
class Answer:
    """One response whose headers have arrived; the body is still on the wire."""

    url: str
    status: int
    headers: Mapping[str, str]
    _response: Response
    _limit: Limit | None = None

    def read_some(self, limit: int) -> bytes:
        """The next bytes as they come, at most `limit`; empty at the end. Raises NetworkError on a cut."""
        try:
            if self._limit is None:
                return self._response.read1(limit, decode_content=False)
            data = self._response.read1(self._limit.piece(limit), decode_content=False)
        except (HTTPError, OSError) as error:
            raise _broke_off(self.url, error) from error
        self._limit.arrived(len(data))
        return data

    def read_all(self, limit: int) -> bytes:
        """The whole body; BadAnswer if it is longer than `limit`."""
        pieces, size = [], 0
        while data := self.read_some(1 << 20):
            size += len(data)
            if size > limit:
                raise BadAnswer(
                    f"the answer of {show_url(self.url)} is longer than {limit} bytes", url=self.url
                )
            pieces.append(data)
        return b"".join(pieces)


class Transport:
    """Connections to one index and to wherever it redirects. Safe to share between threads."""

    def __init__(
        self,
        index_url: str,
        token: str | None,
        *,
        timeout_seconds: float,
        connections: int,
        proxy_for: Callable[[str], str | None] = proxy_from_environment,
        trust: Trust = ORDINARY,
        limit: Limit | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self._token = token
        self._home = origin(index_url)
        self._limit = limit
        self._trace = trace
        self._redirects = Redirects()
        self._pools = Pools(
            timeout_seconds=timeout_seconds, connections=connections, proxy_for=proxy_for, trust=trust
        )

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """GETs the URL and follows redirects. A body not read to its end costs its connection.

        Raises NetworkError if no answer came, RateLimited on 429, NetworkError on 5xx. Other statuses are the caller's.
        """
        response, target = self._ask(url, dict(headers or {}))
        try:
            answer = Answer(target, response.status, response.headers, response, self._limit)
            _raise_for_pause(answer)
            _refuse_encoding(answer)
            yield answer
        except NetworkError:
            self._redirects.forget(url)
            raise
        finally:
            _hand_back(response)

    @contextmanager
    def send(
        self,
        method: str,
        url: str,
        body: bytes | IO[bytes] | Iterable[bytes] | None,
        headers: Mapping[str, str],
        *,
        with_token: bool = True,
    ) -> Iterator[Answer]:
        """Sends the body once and follows no redirect. Raises as `open` does; without Content-Length it is chunked."""
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if with_token and self._token is not None and origin(url) == self._home:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            manager = self._pools.manager(url)
            response = manager.request(
                method, url, body=body, headers=sent, redirect=False, preload_content=False
            )
        except (HTTPError, OSError, ValueError) as error:
            raise _unreachable(url, error) from error
        try:
            if self._trace is not None:
                self._trace(f"{method} {show_url(url)} -> {response.status}")
            answer = Answer(url, response.status, response.headers, response)
            _raise_for_pause(answer)
            yield answer
        finally:
            _hand_back(response)

    def _ask(self, url: str, headers: dict[str, str]) -> tuple[Response, str]:
        """The answer and where it came from: straight from where the URL led before, if that still gives bytes."""
        known = self._redirects.known(url)
        if known is not None:
            try:
                response = self._get(known, headers)
            except NetworkError:
                self._redirects.forget(url)
                raise
            if response.status in (200, 206):
                return response, known
            response.close()
            self._redirects.forget(url)
        response, target = self._follow(url, headers)
        if response.status in (200, 206):
            self._redirects.remember(url, target)
        return response, target

    def _follow(self, url: str, headers: dict[str, str]) -> tuple[Response, str]:
        for _hop in range(MAX_REDIRECTS + 1):
            response = self._get(url, headers)
            location = response.headers.get("Location")
            if response.status not in redirects.STATUSES or not location:
                return response, url
            response.drain_conn()
            response.release_conn()
            url = redirects.target_of(url, location)
        raise BadAnswer(f"more than {MAX_REDIRECTS} redirects from {show_url(url)}", url=url)

    def _get(self, url: str, headers: dict[str, str]) -> Response:
        started = time.monotonic()
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if self._token is not None and origin(url) == self._home:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            response = self._pools.get(url, sent)
        except (HTTPError, OSError, ValueError) as error:
            raise _unreachable(url, error) from error
        if self._trace is not None:
            took = (time.monotonic() - started) * 1000
            self._trace(f"GET {show_url(url)} {sent.get('Range', '')} -> {response.status} in {took:.0f} ms")
        return response


def _hand_back(response: Response) -> None:
    """The connection goes back to the pool if the body was read to its end, and is closed otherwise."""
    if response.length_remaining == 0:
        response.drain_conn()  # http.client only notices the end when it is asked once more
        response.release_conn()
    else:
        response.close()


def _refuse_encoding(answer: Answer) -> None:
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise BadAnswer(
            f"{show_url(answer.url)} sent {printable(encoding)} although identity was asked for",
            hint="Switch compression off for this path at the index or the proxy before it.",
            url=answer.url,
        )


def _raise_for_pause(answer: Answer) -> None:
    pause = _retry_after(answer.headers)
    if answer.status == 429 or (answer.status == 503 and pause is not None):
        waiting = "" if pause is None else f"; it asks for a pause of {pause:.0f} s"
        raise RateLimited(
            f"{show_url(answer.url)} answered {answer.status}{waiting}",
            hint="Wait, then run the same command again; --max-workers 2 is gentler.",
            url=answer.url,
            status=answer.status,
            retry_after_seconds=pause,
        )
    if answer.status == 407:
        raise AuthFailed("the proxy wants a name and password", hint=PROXY_HINT, url=answer.url, status=407)
    if answer.status >= 500 or answer.status == 408:
        raise NetworkError(
            f"{show_url(answer.url)} answered {answer.status}: {said(answer)}",
            hint="The index has a problem of its own. Run the same command again later; what has arrived is kept.",
            url=answer.url,
            status=answer.status,
        )


def said(answer: Answer) -> str:
    """The server's own words about a failure, as one printable line; the status if it has none."""
    text = answer.headers.get("X-Error-Message", "")
    if not text or text == answer.headers.get("X-Error-Code"):
        try:
            found = json.loads(answer.read_all(MAX_ERROR_BYTES))
            text = str(found.get("error", "")) if isinstance(found, dict) else ""
        except (HoldfastError, ValueError, RecursionError):
            text = ""
    return printable(" ".join(text.split()))[:300] or f"status {answer.status}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal() and len(text) < 8:
        return float(text)
    for field in headers.get("RateLimit", "").split(";"):
        name, _equals, value = field.strip().partition("=")
        if name == "t" and value.isdecimal() and len(value) < 8:
            return float(value)
    return None


def _unreachable(url: str, error: Exception) -> NetworkError:
    problem = NetworkError(
        f"cannot reach {show_url(url)}: {printable(_reason(error))}",
        hint="Check the address (-i, HOLDFAST_INDEX_URL) and the network; --offline uses what the cache holds.",
        url=url,
    )
    problem.retryable = not isinstance(error, (SSLError, ValueError))
    if "certificate verify failed" in problem.message.lower():
        problem.hint = (
            "If its authority is your own, name it: --cert FILE. --trusted-host checks nothing at all."
        )
    if "through the proxy: Tunnel connection failed: 407" in problem.message:
        problem.retryable, problem.hint = False, PROXY_HINT
    return problem


def _broke_off(url: str, error: Exception) -> NetworkError:
    return NetworkError(
        f"the connection to {show_url(url)} broke off: {printable(_reason(error))}",
        hint="Run the same command again: it continues where it stopped.",
        url=url,
    )


def _reason(error: BaseException) -> str:
    """The innermost cause in words, because urllib3 wraps the one that matters."""
    while (inner := getattr(error, "reason", None)) is not None and isinstance(inner, BaseException):
        error = inner
    if isinstance(error, ProxyError):
        return f"through the proxy: {_reason(error.original_error)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    text = str(error.args[0] if error.args else error) or type(error).__name__
    return text.rpartition(": ")[2] if "object at 0x" in text else text
