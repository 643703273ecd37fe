"""How far a pull is: live lines on a terminal, plain lines without one, JSON lines for programs, or nothing.

All four hear the same four things and may be told from any thread.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Callable

from holdfast.output import say
from holdfast.text import format_bytes, format_seconds, printable

LINE_EVERY_SECONDS = 10.0
JSON_EVERY_SECONDS = 0.5
RATE_WINDOW_SECONDS = 15.0
MAX_TOLD = 20


class Rate:
    """Bytes per second over the last few seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque([(clock(), 0)])

    def bytes_per_second(self, arrived_bytes: int) -> float:
        """Takes the sum so far; returns the rate."""
        now = self._clock()
        self._seen.append((now, arrived_bytes))
        while now - self._seen[0][0] > RATE_WINDOW_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        then, bytes_then = self._seen[0]
        return max(0.0, (arrived_bytes - bytes_then) / (now - then)) if now > then else 0.0


class Progress:
    """Counts, says nothing. The base of the others, and `--progress-bar off`."""

    def __init__(self, total_bytes: int, n_files: int, *, tell_finished: bool = True) -> None:
        self._tell_finished = tell_finished
        self.total_bytes = total_bytes
        self.n_files = n_files
        self.done_bytes = 0  # of the total, whether they came now or earlier
        self.arrived_bytes = 0
        self.n_finished = 0
        self.sizes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._rate = Rate()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def started(self, path: str, size_bytes: int, present_bytes: int) -> None:
        """A file begins, with so many of its bytes here from an earlier run."""
        with self._lock:
            self.sizes[path] = size_bytes
            self.done_bytes += present_bytes
            self.on_started(path, size_bytes, present_bytes)

    def advanced(self, path: str, n_bytes: int) -> None:
        """So many bytes came (or, if negative, were thrown away)."""
        with self._lock:
            self.done_bytes += n_bytes
            self.arrived_bytes += max(n_bytes, 0)
            self.on_advanced(path, n_bytes)

    def finished(self, path: str) -> None:
        """A file is done: in a pull it is verified and has its name."""
        with self._lock:
            self.n_finished += 1
            self.on_finished(path)

    def is_worth_a_line(self, path: str) -> bool:
        """Whether a finished file is told of: each of a few, and of many those with a twentieth of all bytes."""
        is_large = self.sizes[path] * MAX_TOLD >= self.total_bytes
        return self._tell_finished and (self.n_files <= MAX_TOLD or is_large)

    def say(self, text: str) -> None:
        """One remark between the lines."""
        with self._lock:
            self.on_say(printable(text))

    def rate_and_eta(self) -> tuple[float, float | None]:
        """Bytes per second, and seconds to go (None if nobody knows)."""
        rate = self._rate.bytes_per_second(self.arrived_bytes)
        return rate, (self.total_bytes - self.done_bytes) / rate if rate > 0 else None

    def on_started(self, path: str, size_bytes: int, present_bytes: int) -> None:
        """Called under the lock."""

    def on_advanced(self, path: str, n_bytes: int) -> None:
        """Called under the lock."""

    def on_finished(self, path: str) -> None:
        """Called under the lock."""

    def on_say(self, text: str) -> None:
        """Called under the lock."""

    def close(self) -> None:
        """No more will come."""


class PlainProgress(Progress):
    """A line per finished file, and every ten seconds one for the total."""

    def __init__(self, total_bytes: int, n_files: int, *, tell_finished: bool) -> None:
        super().__init__(total_bytes, n_files, tell_finished=tell_finished)
        self._last_line = time.monotonic()

    def on_advanced(self, path: str, n_bytes: int) -> None:
        if time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            self.on_say(self._total_line())

    def on_finished(self, path: str) -> None:
        if self.is_worth_a_line(path):
            self.on_say(f"  verified  {format_bytes(self.sizes[path]):>9}  {printable(path)}")

    def on_say(self, text: str) -> None:
        say(text)

    def _total_line(self) -> str:
        rate, eta = self.rate_and_eta()
        left = "" if eta is None else f", {format_seconds(eta)} to go"
        return f"  {format_bytes(self.done_bytes)} of {format_bytes(self.total_bytes)}, {format_bytes(rate)}/s{left}"


class JsonProgress(Progress):
    """One JSON object per line on stderr, `event` = started, progress, finished or note."""

    def __init__(self, total_bytes: int, n_files: int) -> None:
        super().__init__(total_bytes, n_files)
        self._bytes: dict[str, int] = {}
        self._last_line = 0.0

    def on_started(self, path: str, size_bytes: int, present_bytes: int) -> None:
        self._bytes[path] = present_bytes
        self._emit("started", path=path, size_bytes=size_bytes, bytes_done=present_bytes)

    def on_advanced(self, path: str, n_bytes: int) -> None:
        self._bytes[path] += n_bytes
        if time.monotonic() - self._last_line >= JSON_EVERY_SECONDS:
            self._last_line = time.monotonic()
            self._emit_progress(path)

    def _emit_progress(self, path: str) -> None:
        rate, eta = self.rate_and_eta()
        self._emit(
            "progress",
            path=path,
            bytes_done=self._bytes[path],
            size_bytes=self.sizes[path],
            total_done=self.done_bytes,
            total_bytes=self.total_bytes,
            bytes_per_second=round(rate),
            eta_seconds=None if eta is None else round(eta, 1),
        )

    def on_finished(self, path: str) -> None:
        self._emit("finished", path=path, files_done=self.n_finished, files_total=self.n_files)

    def on_say(self, text: str) -> None:
        self._emit("note", text=text)

    def _emit(self, event: str, **facts: Any) -> None:
        say(json.dumps({"event": event, **facts}))


def open_progress(
    mode: str, total_bytes: int, n_files: int, *, color: bool, tell_finished: bool = True
) -> Progress:
    """The progress for `--progress-bar on|off|json`; `on` is live lines if stderr is a terminal."""
    if mode == "off":
        return Progress(total_bytes, n_files)
    if mode == "json":
        return JsonProgress(total_bytes, n_files)
    if not sys.stderr.isatty():
        return PlainProgress(total_bytes, n_files, tell_finished=tell_finished)
    from holdfast.fetching.live import LiveProgress

    return LiveProgress(total_bytes, n_files, color=color, tell_finished=tell_finished)
