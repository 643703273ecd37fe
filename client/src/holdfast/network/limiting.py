"""--limit-rate: so many bytes per second, of all connections together.

Nothing is saved up: a process that waited a minute for a server may not catch up on that minute afterwards, except on a
tenth of a second. Each piece that arrives books the time that its bytes are worth and waits until that time has passed,
so over any stretch of time there come at most rate * seconds + a tenth of a second's bytes.
"""

from __future__ import annotations

import threading
import time
from functools import cache
from typing import Callable

BURST_SECONDS = 0.1
PIECES_PER_SECOND = (
    20  # reads are cut to this, so that no connection sleeps long enough to look dead to its server
)


class Limit:
    """Shared by all who receive. Safe between threads."""

    def __init__(
        self,
        bytes_per_second: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._booked_until = clock()
        self._lock = threading.Lock()

    def piece(self, n_bytes: int) -> int:
        """How many of these bytes to ask for at once, at least one."""
        return max(1, min(n_bytes, self._bytes_per_second // PIECES_PER_SECOND))

    def arrived(self, n_bytes: int) -> None:
        """So many bytes have come: returns when they may have."""
        with self._lock:
            now = self._clock()
            seconds = n_bytes / self._bytes_per_second
            self._booked_until = max(self._booked_until, now - BURST_SECONDS) + seconds
            pause = self._booked_until - now
        if pause > 0:
            self._sleep(pause)


@cache
def limit_of_process(bytes_per_second: int) -> Limit:
    """The one limit that every connection of this process keeps to."""
    return Limit(bytes_per_second)
