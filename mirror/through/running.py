"""Jobs that the web process works on itself, and how many requests may wait for such work.

Threads here are daemons: at the end of the process they die, the lease of their job runs out, and it goes on elsewhere.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from registry import work
from registry.models import Job
from registry.nudge import nudge
from registry.sweep import put_back_abandoned

LOOKUPS_AT_ONCE = 16
FIRST_POLL_SECONDS, POLL_SECONDS = 0.02, 0.25
SWEEP_SECONDS = 2.0  # how often those who wait look after work whose process died

_lock = threading.Lock()
_running: dict[int, tuple[str, threading.Event]] = {}


class TooManyWait(Exception):
    """So many requests of this process wait for upstream that one more could starve all others."""


class _Room:
    """How many requests of this process wait for upstream."""

    def __init__(self) -> None:
        self._lock, self._taken = threading.Lock(), 0

    def take(self) -> None:
        """One request more waits, until `leave`. Raises TooManyWait: threads must stay for all others."""
        with self._lock:
            if self._taken >= settings.HOLDFAST_PULL_THROUGH_WAITING:
                raise TooManyWait
            self._taken += 1

    def leave(self) -> None:
        with self._lock:
            self._taken -= 1

    @contextmanager
    def place(self) -> Iterator[None]:
        """The body may wait. Raises TooManyWait."""
        self.take()
        try:
            yield
        finally:
            self.leave()


room = _Room()


def start(job: Job) -> bool:
    """Whether this process works on the job now, or will in a moment. Cheap, and safe to call again and again."""
    most = LOOKUPS_AT_ONCE if job.kind == "lookup" else settings.HOLDFAST_PULL_THROUGH_FETCHES
    with _lock:
        if job.pk in _running:
            return True
        if sum(kind == job.kind for kind, _ in _running.values()) >= most:
            return False
        done = threading.Event()
        _running[job.pk] = job.kind, done
    threading.Thread(
        target=_run, args=(job.pk, done), name=f"through-{job.kind}-{job.pk}", daemon=True
    ).start()
    return True


def start_or_nudge(job: Job) -> None:
    """Somebody works on the job soon if it is queued: this process where it has room, else a worker."""
    if job.state == Job.State.QUEUED and not start(job) and job.nudged_at is None:
        nudge(job)


def _run(job_id: int, done: threading.Event) -> None:
    """One slice after the other while the job is due, unless a worker takes it."""
    try:
        work.run_job(job_id)
        while not work.stopping.is_set() and Job.objects.due().filter(pk=job_id).exists():
            work.run_job(job_id)
    finally:
        connection.close()
        with _lock:
            _running.pop(job_id, None)
        done.set()


def wait_for(job: Job, until: float) -> Job:
    """The job's row, finished if it was so before `until` (time.monotonic); also back early when it must wait itself.

    Whoever waits looks after the work: a queued job is started here, one whose process died is put back in the queue.
    """
    pause, swept_at = FIRST_POLL_SECONDS, time.monotonic()
    while True:
        job.refresh_from_db()
        if job.is_finished or time.monotonic() >= until or is_parked(job):
            return job
        if job.state == Job.State.QUEUED:
            start(job)
        if time.monotonic() - swept_at > SWEEP_SECONDS:
            swept_at = time.monotonic()
            put_back_abandoned()
        sleep_or_done(job.pk, min(pause, max(until - time.monotonic(), 0)))
        pause = min(pause * 2, POLL_SECONDS)


def sleep_or_done(job_id: int, seconds: float) -> None:
    """That long, or until this process is done with the job."""
    with _lock:
        here = _running.get(job_id)
    if here:
        here[1].wait(seconds)
    else:
        time.sleep(seconds)


def is_parked(job: Job) -> bool:
    """Whether the job waits for a later hour: upstream is in trouble or asked us to."""
    if job.state != Job.State.QUEUED:
        return False
    return Job.objects.filter(pk=job.pk, state=Job.State.QUEUED, run_after__gt=Now()).exists()


def join_all(seconds: float) -> None:
    """Returns when nothing runs in this process any more, or after so many seconds: for tests."""
    until = time.monotonic() + seconds
    while _running and time.monotonic() < until:
        with suppress(IndexError, RuntimeError):
            next(iter(_running.values()))[1].wait(0.1)
