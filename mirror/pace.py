"""The pace of each upstream, shared through its row by every worker and web process.

Two things slow us down, and one lets us go on:

- **A pause.** A 429 (or a good answer that says that nothing is left) sets `paused_until`; nobody asks before.
- **A rate.** What an operator set, or what was learned, whichever is less. Each request then reserves the next free
  moment by one UPDATE that moves `next_request_at` on (the generic cell rate algorithm without a burst: requests are
  spaced evenly, however many processes ask).
- **Learning.** The first 429 begins at two requests a second, and each request makes that a little faster until the
  next one; from then on faster by a constant step a request, and slower by a share at each 429 (additive increase and
  multiplicative decrease, as in TCP). A quarter is regained in some two minutes at any rate, so that the share of
  refused requests is about the time a request takes to those two minutes. It is forgotten after a quiet while.

While there is neither, a request costs no query: what the row said is believed for a second. All times are the
database's, so that the clocks of machines need not agree. When the database does not answer, we go on as we last knew.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, close_old_connections, connection, transaction
from django.db.models import Case, F, FloatField, QuerySet, When
from django.db.models.functions import Coalesce, Greatest, Now

from mirror.upstream.base import NotOurTurn
from mirror.upstream.http import LONGEST_WAIT_SECONDS
from mirror.upstream.pace import Allowance
from registry.models import Upstream
from registry.work import stopping

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 10.0  # a request that must wait longer is not worth the worker that waits
KNOWN_SECONDS = 1.0  # how old may be what we know of the row
HEALTH_SECONDS = 5.0  # how often a process notes that upstream answers, or does not
# Learning: where it starts, how fast it goes until the second refusal, and after that; what a refusal costs, and what
# one that follows soon upon the last; when what was learned is too old.
FIRST_PER_SECOND, LEAST_PER_SECOND = 2.0, 0.02
FASTER_AT_FIRST, FASTER_BY = 1.02, 0.002
SLOWER, MUCH_SLOWER, SOON = 0.8, 0.5, 1.05
FORGOTTEN_AFTER = timedelta(minutes=15)
# With so few requests left in a hub's window, those who ask at full speed begin to learn before the first 429.
FEW_REQUESTS = 10
LEARNED = ["paused_until", "learned_per_second", "ceiling_per_second"]


@dataclass
class _Known:
    """What this process knows of the pace of one upstream, in terms of its own steady clock."""

    read_at: float = float("-inf")
    paused_until: float = float("-inf")
    rate: float | None = None
    noted_at: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_known: dict[tuple[str, str], _Known] = {}


class SharedPace:
    """The pace of one upstream, as its row has it (`mirror.upstream.pace.Pace`). Shared by threads; cheap to make."""

    def __init__(
        self, kind: str, endpoint: str, where: str, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self.kind, self.endpoint, self.where = kind, endpoint, where
        self.patience_seconds = patience_seconds
        self._known = _known.setdefault((kind, endpoint), _Known())

    @property
    def _rows(self) -> QuerySet[Upstream]:
        return Upstream.objects.filter(kind=self.kind, endpoint=self.endpoint)

    # --- before a request ---------------------------------------------------------------------------------

    def take_turn(self) -> None:
        """It is our turn to ask when this returns. Raises NotOurTurn when that is further off than our patience."""
        known, give_up_at = self._known, time.monotonic() + self.patience_seconds
        while True:
            self._refresh(0.0 if known.paused_until > time.monotonic() else KNOWN_SECONDS)
            if (pause := known.paused_until - time.monotonic()) > 0:
                self._wait(pause, give_up_at)
                continue
            if known.rate is None:
                return
            turn_at = self._reserve(known.rate, give_up_at - time.monotonic())
            if turn_at <= time.monotonic():
                return
            self._wait(turn_at - time.monotonic(), give_up_at)
            self._refresh(0.0)  # somebody may have been refused while we waited
            if known.paused_until <= time.monotonic():
                return

    def _wait(self, seconds: float, give_up_at: float) -> None:
        if time.monotonic() + seconds > give_up_at or stopping.wait(seconds):
            raise NotOurTurn(self.where, seconds)

    def _reserve(self, rate: float, patience_seconds: float) -> float:
        """When our turn is, by the steady clock; nobody else has it. Raises NotOurTurn, and then reserves nothing."""
        step, soon = timedelta(seconds=1 / rate), Now() + timedelta(seconds=max(patience_seconds, 0))
        free_at = Greatest(Coalesce("next_request_at", Now()), Coalesce("paused_until", Now()), Now())
        reserving = self._rows.exclude(next_request_at__gt=soon).exclude(paused_until__gt=soon)
        with _database():
            with transaction.atomic():
                is_ours = reserving.update(next_request_at=free_at + step, learned_per_second=_faster())
                row = self._read()
            if row and is_ours:
                return time.monotonic() + _seconds(row.next_request_at, row.now) - 1 / rate
            if row:
                raise NotOurTurn(self.where, row.free_in)
        return time.monotonic() + 1 / rate  # nobody to share with: no row, or no database

    def _refresh(self, oldest_seconds: float) -> None:
        """What we know of the row is at most so old."""
        known = self._known
        with known.lock, _database():
            if time.monotonic() - known.read_at < oldest_seconds:
                return
            known.read_at = time.monotonic()
            row = self._read()
            if row and row.is_forgotten:
                stale = self._rows.filter(paused_until=row.paused_until)
                stale.update(learned_per_second=None, ceiling_per_second=None)

    def _read(self) -> "_Row | None":
        """The row, and with it what we know. One query."""
        found = self._rows.annotate(now=Now()).values_list(*_Row.__slots__).first()
        row = _Row(*found) if found else None
        known, now = self._known, time.monotonic()
        known.read_at, known.rate = now, row.rate if row else None
        known.paused_until = now + _seconds(row.paused_until, row.now) if row else now
        return row

    # --- after it -----------------------------------------------------------------------------------------

    def answered(self, allowance: Allowance | None) -> None:
        """Upstream is well; when it says that little or nothing is left, we slow down before it has to say 429."""
        self._note("answered_at")
        if allowance is None or allowance.n_requests > FEW_REQUESTS:
            return
        if allowance.n_requests == 0:
            self._slow_down(min(allowance.seconds, LONGEST_WAIT_SECONDS))
        elif self._known.rate is None:
            self._slow_down(0.0)

    def refused(self, seconds: float) -> None:
        """Nobody asks for so long, and then more slowly than now; the row says that upstream was in trouble."""
        self._slow_down(seconds, trouble=f"asked us to wait {seconds:.0f} seconds")

    def _slow_down(self, seconds: float, trouble: str = "") -> None:
        """A pause, and a slower pace from then on. What comes in the same pause only prolongs it."""
        with self._known.lock, _database():
            with transaction.atomic():
                self._make_row()
                row = self._rows.select_for_update().annotate(now=Now()).get()
                if row.paused_until is None or row.paused_until < row.now:
                    row.learned_per_second, row.ceiling_per_second = _slower(row)
                row.paused_until = max(row.paused_until or row.now, row.now + timedelta(seconds=seconds))
                if trouble:
                    row.trouble_at, row.trouble = row.now, trouble
                row.save(update_fields=[*LEARNED, "trouble_at", "trouble"])
            self._read()

    def failed(self, reason: str) -> None:
        """Upstream is in trouble; the row says when and why."""
        self._note("trouble_at", trouble=reason[:500])

    def _note(self, name: str, **values: Any) -> None:
        """The column says "just now"; written at most every few seconds by each process."""
        known, now = self._known, time.monotonic()
        with known.lock:
            if now - known.noted_at.get(name, float("-inf")) < HEALTH_SECONDS:
                return
            known.noted_at[name] = now
        with _database():
            self._make_row()
            self._rows.update(**{name: Now()}, **values)

    def _make_row(self) -> None:
        Upstream.objects.get_or_create(kind=self.kind, endpoint=self.endpoint)


@dataclass(frozen=True, slots=True)
class _Row:
    """The pace as the row has it, and the database's clock."""

    now: datetime
    next_request_at: datetime | None
    paused_until: datetime | None
    requests_per_second: float | None
    learned_per_second: float | None

    @property
    def rate(self) -> float | None:
        return _rate(self.requests_per_second, self.learned_per_second)

    @property
    def is_forgotten(self) -> bool:
        """Whether what was learned is too old to hold."""
        if self.learned_per_second is None or self.paused_until is None:
            return False
        return self.now - self.paused_until > FORGOTTEN_AFTER

    @property
    def free_in(self) -> float:
        """Seconds until the next moment that nobody has reserved."""
        return max(_seconds(self.next_request_at, self.now), _seconds(self.paused_until, self.now))


def _rate(*rates: float | None) -> float | None:
    """The least of those that are set."""
    return min((max(rate, LEAST_PER_SECOND) for rate in rates if rate is not None), default=None)


def _seconds(when: datetime | None, now: datetime) -> float:
    return max((when - now).total_seconds(), 0.0) if when else 0.0


def _slower(row: Upstream) -> tuple[float, float | None]:
    """What is learned from being refused at this rate, and the ceiling, which is unknown at the first time."""
    rate, ceiling = _rate(row.requests_per_second, row.learned_per_second), row.ceiling_per_second
    if rate is None:
        return FIRST_PER_SECOND, None
    if ceiling is None or rate < ceiling * SLOWER * SOON:  # far above what upstream bears
        rate *= MUCH_SLOWER / SLOWER
    return max(rate * SLOWER, LEAST_PER_SECOND), rate


def _faster() -> Any:
    """What was learned, after one more request; NULL stays NULL."""
    at_first = When(ceiling_per_second=None, then=F("learned_per_second") * FASTER_AT_FIRST)
    return Case(at_first, default=F("learned_per_second") + FASTER_BY, output_field=FloatField())


@contextmanager
def _database() -> Iterator[None]:
    """A connection for the moment: a thread that had none keeps none. That the database fails is no reason to stop."""
    had_one = connection.connection is not None
    try:
        yield
    except DatabaseError as error:
        logger.warning("the shared pace of upstreams is not known: %s", error)
        close_old_connections()
    finally:
        if not had_one:
            connection.close()
