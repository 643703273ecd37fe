"""Where redirects lead, and for how long that is remembered.

A large file is asked for in several ranges. A store's signed address is good for all of them, so the index is asked for
it once; it is asked again when the address is a minute old, refuses, or breaks off.
"""

from __future__ import annotations

import time
from typing import Callable
from urllib.parse import urljoin

from holdfast.errors import BadAnswer
from holdfast.network.urls import origin, show_url
from holdfast.text import printable

STATUSES = frozenset({301, 302, 303, 307, 308})
KEPT_SECONDS = 60.0  # stores sign for minutes at least: HOLDFAST_PRESIGN_SECONDS, the public hub's hour
MAX_KEPT = 256


class Redirects:
    """The last address that gave bytes, per address asked for. Safe between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[str, float]] = {}

    def known(self, url: str) -> str | None:
        """Where the URL led less than a minute ago."""
        target, since = self._kept.get(url, ("", 0.0))
        return target if target and self._clock() - since < KEPT_SECONDS else None

    def remember(self, url: str, target: str) -> None:
        """The URL led there, and bytes came."""
        if url == target:
            return
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[url] = (target, self._clock())

    def forget(self, url: str) -> None:
        """The next request asks the URL itself."""
        self._kept.pop(url, None)


def target_of(url: str, location: str) -> str:
    """The address that a redirect names. Raises BadAnswer for one that is no web address, or leaves https for http."""
    try:
        target = urljoin(url, location)
        scheme, host, _port = origin(target)
    except ValueError as error:
        raise BadAnswer(f"{show_url(url)} redirects to {printable(location)!r}", url=url) from error
    if scheme not in ("http", "https") or not host:
        raise BadAnswer(f"{show_url(url)} redirects to {printable(location)!r}", url=url)
    if url.startswith("https:") and scheme == "http":
        raise BadAnswer(f"{show_url(url)} redirects from https to http: refused", url=url, location=target)
    return target
