"""When a request that failed may be sent again: as often as asked for, later each time, or when the index says."""

from __future__ import annotations

import random
import time
from typing import Callable, TypeVar

from holdfast.errors import HoldfastError

MAX_PAUSE_SECONDS = 120.0
FIRST_PAUSE_SECONDS = 0.2

Result = TypeVar("Result")


class Patience:
    """How often one request may be sent again without any progress. `sleep` may end early, by raising."""

    def __init__(self, retries: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self._retries = retries
        self._left = retries
        self._sleep = sleep

    def progressed(self) -> None:
        """Bytes arrived: all retries are available again."""
        self._left = self._retries

    def wait_or_raise(self, error: HoldfastError) -> None:
        """Sleeps as long as the index asked, or twice as long each time; raises the error if nothing is left."""
        pause = error.facts.get("retry_after_seconds")
        if not error.retryable or self._left <= 0 or (pause or 0) > MAX_PAUSE_SECONDS:
            raise error
        if pause is None:
            tried = self._retries - self._left
            pause = min(FIRST_PAUSE_SECONDS * 2.0**tried, MAX_PAUSE_SECONDS) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
        self._left -= 1
        self._sleep(pause)


def with_patience(retries: int, ask: Callable[[], Result]) -> Result:
    """The result of `ask`, asked again while its errors are retryable and retries are left."""
    patience = Patience(retries)
    while True:
        try:
            return ask()
        except HoldfastError as error:
            patience.wait_or_raise(error)
