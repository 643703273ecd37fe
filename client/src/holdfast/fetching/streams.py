"""One large file over as many connections as pay.

The missing bytes are spans. A stream takes the first one, asks for it with one request and writes it front to back.
With company it takes a few parts only, because the hash goes front to back behind all of them and would have most of a
large file before it at the end. A stream that finds no span takes from the longest one that another stream is at; that
stream then stops early. So one fast connection reads the whole file in a single request, and eight slow ones share it.

`Widening` decides how many: one first, then twice as many while doubling makes it clearly faster. On loopback one
stream keeps the disk and the hash busy and more win nothing; where each connection is capped (CDNs, proxies),
eight streams are several times as fast (`benchmarks/pulling.py` measures both).
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from typing import Callable

from holdfast.errors import HoldfastError, NetworkError, RateLimited
from holdfast.fetching.following import FollowingHasher
from holdfast.fetching.partial import PART_BYTES, Partial
from holdfast.fetching.spans import Span, joined
from holdfast.network.patience import Patience
from holdfast.network.ranges import first_byte
from holdfast.network.transport import Answer, show_url

READ_BYTES = 512 * 1024
STRETCH_PARTS = 4
WINDOW_SECONDS = 0.7
WORTH_WIDENING_SECONDS = 1.5  # with less than this to go, a new connection comes too late
FAST_ENOUGH = 250_000_000  # bytes per second; beyond, hash and disk are the limit
CLEARLY_FASTER = 1.3

Open = Callable[[int, "int | None"], AbstractContextManager[Answer]]


class NoRanges(Exception):
    """A helper was sent the file from its start: on this server one stream does all the work."""


class Stopped(Exception):
    """Another file failed, so this one stops where it is; what it has is kept."""


class Slots:
    """Connections that may be open at once, over all files."""

    def __init__(self, n_slots: int) -> None:
        self.n_slots = n_slots
        self._free = threading.Semaphore(n_slots)

    def take(self) -> None:
        """Waits for a slot."""
        self._free.acquire()

    def try_take(self) -> bool:
        """Takes a slot if one is free."""
        return self._free.acquire(blocking=False)

    def give_back(self) -> None:
        """The slot is free again."""
        self._free.release()


class Widening:
    """How many streams to add, judged once per window."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._since = clock()
        self._bytes = 0
        self._rate_before = 0.0

    def streams_to_add(self, arrived_bytes: int, left_bytes: int, n_streams: int) -> int:
        """Counts the bytes; at the end of a window returns how many streams to add, otherwise 0."""
        self._bytes += arrived_bytes
        seconds = self._clock() - self._since
        if seconds < WINDOW_SECONDS:
            return 0
        rate = self._bytes / seconds
        self._since, self._bytes = self._clock(), 0
        if n_streams >= self.limit or rate > FAST_ENOUGH or left_bytes < rate * WORTH_WIDENING_SECONDS:
            return 0
        if rate < self._rate_before * CLEARLY_FASTER:
            self.limit = n_streams
            return 0
        self._rate_before = rate
        return min(n_streams, self.limit - n_streams)


class Streams:
    """Fills a partial file. The caller holds one slot, which the first stream uses."""

    def __init__(
        self,
        open_range: Open,
        partial: Partial,
        hasher: FollowingHasher,
        *,
        name: str,
        slots: Slots,
        retries: int,
        stopping: threading.Event,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._open = open_range
        self._partial = partial
        self._hasher = hasher
        self._name = name
        self._slots = slots
        self._retries = retries
        self._stopping = stopping
        self._on_bytes = on_bytes
        self._lock = threading.Lock()
        self._idle = [Span(start, end, start) for start, end in reversed(partial.missing())]
        self._active: list[Span] = []
        self._left_bytes = partial.size_bytes - partial.present_bytes()
        self._widening = Widening(slots.n_slots)
        self._helpers: list[threading.Thread] = []
        self._n_streams = 1
        self._has_ranges = True  # as far as we know
        self._failure: BaseException | None = None

    def fill(self) -> None:
        """Afterwards every byte is present (not yet trusted). Raises what stopped it; what arrived is kept."""
        while self._failure is None and (self._idle or self._active):
            self._stream(patient=True)
            while (helper := self._last_helper()) is not None:
                helper.join()
        if self._failure is not None:
            raise self._failure

    def _last_helper(self) -> threading.Thread | None:
        with self._lock:
            return self._helpers.pop() if self._helpers else None

    def _stream(self, *, patient: bool) -> None:
        """Works until no span is left. A helper (not patient) gives its span back at the first request to slow down."""
        while self._failure is None and (span := self._take()) is not None:
            try:
                self._read_span(span, Patience(self._retries, self._sleep), patient=patient)
            except RateLimited as error:
                self._widening.limit = max(1, self._n_streams - 1)
                if patient:
                    self._fail(error)
                return
            except NoRanges:
                self._has_ranges, self._widening.limit = False, 1
                return
            except BaseException as error:
                self._fail(error)
                return
            finally:
                self._put_back(span)

    def _fail(self, error: BaseException) -> None:
        """The first error counts; what it stops in other streams is only its echo."""
        with self._lock:
            self._failure = self._failure or error

    def _take(self) -> Span | None:
        with self._lock:
            if not self._idle:
                self._split_longest()
            if not self._idle:
                return None
            span = self._idle.pop()
            if self._n_streams > 1:
                self._leave_rest(span)
            self._claim_part(span)
            self._active.append(span)
            return span

    def _leave_rest(self, span: Span) -> None:
        """A stream with company takes a few parts only, so that all work near the front, where the hash is."""
        end = (span.position // PART_BYTES + STRETCH_PARTS) * PART_BYTES
        if end < span.end:
            self._idle.append(Span(end, span.end, end))
            span.end = end

    def _split_longest(self) -> None:
        """The span with most to go keeps a few parts, or half of what it has; the rest is idle. In whole parts."""
        victim = max(self._active, key=lambda span: span.end - span.claimed, default=None)
        if victim is None:
            return
        next_part = -(-victim.claimed // PART_BYTES) * PART_BYTES
        middle = max(next_part, (victim.claimed + victim.end) // 2 // PART_BYTES * PART_BYTES)
        middle = min(middle, next_part + STRETCH_PARTS * PART_BYTES)
        if middle < victim.end:
            self._idle.append(Span(middle, victim.end, middle))
            victim.end = middle

    def _put_back(self, span: Span) -> None:
        with self._lock:
            self._active.remove(span)
            if span.position < span.end:
                span.claimed = span.position
                self._idle = joined([*self._idle, span])
            if not self._has_ranges:
                self._lengthen()

    def _lengthen(self) -> None:
        """Whoever is reading goes on into what is idle behind it: asked anew it would get the file from its start."""
        for span in self._active:
            if self._idle and self._idle[-1].position == span.end:
                span.end = self._idle.pop().end

    def _read_span(self, span: Span, patience: Patience, *, patient: bool) -> None:
        while span.position < span.end:
            try:
                self._request(span, patience, patient=patient)
            except RateLimited as error:
                if not patient:
                    raise
                patience.wait_or_raise(error)
            except HoldfastError as error:
                patience.wait_or_raise(error)

    def _request(self, span: Span, patience: Patience, *, patient: bool) -> None:
        start, end = span.position, span.end
        size = self._partial.size_bytes
        with self._open(start, None if end == size else end) as answer:
            skip = first_byte(answer, start, size, self._name)
            if skip and not patient:
                raise NoRanges
            while skip:
                skip -= len(self._some(answer, min(skip, READ_BYTES)))
            while self._claim(span):
                limit = min(READ_BYTES, span.claimed - span.position)
                data = self._some(answer, limit)
                self._partial.write(span.position, data)
                self._hasher.offer(span.position, data)
                span.position += len(data)
                patience.progressed()
                self._arrived(len(data))

    def _claim(self, span: Span) -> bool:
        """Whether there is more to read; the part being read cannot be stolen."""
        with self._lock:
            self._claim_part(span)
            return span.position < span.end

    def _claim_part(self, span: Span) -> None:
        if span.position == span.claimed and span.position < span.end:
            span.claimed = min(self._partial.part_end(span.position), span.end)

    def _some(self, answer: Answer, limit: int) -> bytes:
        if self._stopping.is_set() or self._failure is not None:
            raise Stopped
        data = answer.read_some(limit)
        if not data:
            raise NetworkError(f"{show_url(answer.url)} ended before all bytes had come", url=answer.url)
        return data

    def _arrived(self, n_bytes: int) -> None:
        self._on_bytes(n_bytes)
        with self._lock:
            self._left_bytes -= n_bytes
            n_more = self._widening.streams_to_add(n_bytes, self._left_bytes, self._n_streams)
        for _helper in range(n_more):
            if self._slots.try_take():
                self._add_helper()

    def _add_helper(self) -> None:
        helper = threading.Thread(target=self._help, name="holdfast-stream", daemon=True)
        with self._lock:
            self._n_streams += 1
            self._helpers.append(helper)
            helper.start()  # under the lock, because whoever joins must not see a thread that is not started

    def _help(self) -> None:
        try:
            self._stream(patient=False)
        finally:
            self._slots.give_back()
            with self._lock:
                self._n_streams -= 1

    def _sleep(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Stopped
