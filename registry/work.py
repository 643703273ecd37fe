"""The job engine: submit, claim, run, and what a handler sees of it.

A handler is a function `handler(lease) -> dict | Again | None`. It may run twice, be killed at any instruction,
and continue in another process. It does its work in this order: bytes, then rows in one transaction that calls
`lease.guard()`. What it returns becomes `Job.result`. Expected failures are `JobFailed`.
"""

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, IntegrityError, close_old_connections, connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest, Now

from registry.models import Job, Repo
from registry.nudge import nudge, nudge_next
from registry.sweep import put_back_abandoned

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0  # how old the progress that a page shows may be
FIRST_RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 15 * 60.0

# Set when this process was asked to end: handlers stop at their next checkpoint and the job goes on elsewhere.
stopping = threading.Event()


class JobFailed(Exception):
    """A handler's expected failure: a stable kebab-case code and a sentence for a person."""

    def __init__(
        self, code: str, message: str, *, retryable: bool = False, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.retryable, self.retry_after_seconds = retryable, retry_after_seconds


class JobCancelled(Exception):
    """Somebody asked for the end of this job."""


class LeaseLost(Exception):
    """Another worker holds this job now; nothing more may be written for it."""


@dataclass(frozen=True)
class Again:
    """What a handler returns when it must continue later: its slice is over, or upstream asked to wait.

    A job that waits says why: `code` and `reason` stand in its row until it goes on to its end.
    """

    after_seconds: float = 0.0
    reason: str = ""
    code: str = ""


@dataclass(frozen=True)
class Progress:
    """What is done of a job, for a progress bar. Bytes; the total is None while unknown."""

    bytes_done: int
    bytes_total: int | None
    phase: str


@dataclass
class Lease:
    """The right to work on one job, until its fencing token is no longer the newest."""

    job: Job
    on_progress: Callable[[Progress], None] | None = None
    _started: float = field(default_factory=time.monotonic)
    _lost: threading.Event = field(default_factory=threading.Event)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _done: threading.Event = field(default_factory=threading.Event)
    _progress: Progress = field(default_factory=lambda: Progress(0, None, ""))

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.job.params)

    @property
    def saved(self) -> dict[str, Any]:
        """What the last checkpoint of an earlier slice or attempt wrote."""
        return dict(self.job.checkpoint)

    def progress(self, bytes_done: int, bytes_total: int | None = None, phase: str = "") -> None:
        """Remembers progress; it reaches the row with the next heartbeat. Cheap enough to call per chunk."""
        self._progress = Progress(bytes_done, bytes_total, phase or self._progress.phase)
        if self.on_progress:
            self.on_progress(self._progress)

    def should_stop(self) -> bool:
        """True at the end of a slice or when the process is asked to end: checkpoint and return Again.

        Raises JobCancelled or LeaseLost when there is nothing left to do for this worker.
        """
        if self._lost.is_set():
            raise LeaseLost(f"job {self.job.pk} is held by another worker")
        if self._cancelled.is_set():
            raise JobCancelled(f"job {self.job.pk} was cancelled")
        return stopping.is_set() or time.monotonic() - self._started > settings.HOLDFAST_SLICE_SECONDS

    def checkpoint(self, data: dict[str, Any]) -> None:
        """`data` is in the row when this returns; raises LeaseLost if the job is no longer ours."""
        self._update(checkpoint=data)
        self.job.checkpoint = data

    def guard(self) -> None:
        """Inside a transaction: nobody else can claim the job before this transaction ends.

        Raises LeaseLost if the fencing token is no longer the newest. Call it in every transaction that
        publishes something.
        """
        if not connection.in_atomic_block:
            raise RuntimeError("guard() outside of a transaction protects nothing")
        self._update(owner=self.job.owner)

    def beat(self) -> None:
        """Prolongs the lease, writes progress, notices cancellation and loss."""
        now = self._progress
        try:
            self._update(
                bytes_done=Greatest(F("bytes_done"), Value(now.bytes_done)), bytes_total=now.bytes_total,
                phase=now.phase,
            )  # fmt: skip
        except LeaseLost:
            return
        if Job.objects.filter(pk=self.job.pk, cancel_requested=True).exists():
            self._cancelled.set()

    def _update(self, **values: Any) -> None:
        until = Now() + timedelta(seconds=settings.HOLDFAST_LEASE_SECONDS)
        if Job.objects.held(self.job.pk, self.job.fence).update(lease_until=until, **values) != 1:
            self._lost.set()
            raise LeaseLost(f"job {self.job.pk} is held by another worker")

    @contextmanager
    def beating(self) -> Iterator[None]:
        """A thread keeps the lease alive while the body runs."""
        thread = threading.Thread(target=self._beat_until_done, name=f"lease-{self.job.pk}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _beat_until_done(self) -> None:
        every = min(settings.HOLDFAST_HEARTBEAT_SECONDS, FLUSH_SECONDS)
        try:
            while not self._done.wait(every) and not self._lost.is_set():
                try:
                    self.beat()
                except DatabaseError as error:
                    # The database may be restarting. The lease outlives several missed beats, and if it does
                    # not, guard() refuses our work: going on is safe.
                    logger.warning("job %s: heartbeat failed: %s", self.job.pk, error)
                    close_old_connections()
        finally:
            connection.close()


Handler = Callable[[Lease], "dict[str, Any] | Again | None"]
_handlers: dict[str, Handler] = {}


def register(kind: str) -> Callable[[Handler], Handler]:
    """Makes a function the handler of one kind of job."""

    def keep(handler: Handler) -> Handler:
        _handlers[kind] = handler
        return handler

    return keep


def submit(
    kind: str, *, key: str, label: str, params: dict[str, Any], repo: Repo | None = None,
    created_by: str = "", send_nudge: bool = True,
) -> Job:  # fmt: skip
    """The one unfinished job of this kind and key: the existing one, or a new row. Idempotent.

    Workers are nudged once the surrounding transaction commits.
    """
    wanted = Job.objects.unfinished().filter(kind=kind, key=key)
    job = wanted.first()
    if job is None:
        try:
            with transaction.atomic():
                job = Job.objects.create(
                    kind=kind, key=key, label=label, params=params, repo=repo, created_by=created_by,
                    max_attempts=settings.HOLDFAST_MAX_ATTEMPTS,
                )  # fmt: skip
        except IntegrityError:  # somebody else submitted the same work at this very moment
            job = wanted.get()
    if send_nudge:
        transaction.on_commit(lambda: nudge(job))
    return job


def cancel(job_id: int) -> bool:
    """The job will not go on: at once if queued, at its next checkpoint if running. False if it is over."""
    queued = Job.objects.filter(pk=job_id, state="queued")
    if queued.update(state="cancelled", cancel_requested=True, finished_at=Now()):
        return True
    return bool(Job.objects.filter(pk=job_id, state="running").update(cancel_requested=True))


def retry(job_id: int) -> Job | None:
    """A new job for the work of a failed or cancelled one; None if that is not over."""
    old = Job.objects.filter(pk=job_id, state__in=["failed", "cancelled"]).select_related("repo").first()
    if old is None:
        return None
    return submit(old.kind, key=old.key, label=old.label, params=old.params, repo=old.repo,
                  created_by=old.created_by)  # fmt: skip


def run_job(job_id: int) -> None:
    """Works on the job for one slice. Does nothing when it is gone, done, held or not yet due.

    Nor does a worker that was asked to end begin anything: the sweeper nudges another one.
    """
    if stopping.is_set():
        return
    if job := _claim(job_id):
        _work(Lease(job))
        if not stopping.is_set():
            nudge_next(job.kind)


def run_in_foreground(job: Job, on_progress: Callable[[Progress], None]) -> Job:
    """The finished row: the job was worked on here unless another worker held it."""
    while True:
        if claimed := _claim(job.pk):
            _work(Lease(claimed, on_progress))
        job.refresh_from_db()
        if job.is_finished:
            return job
        if stopping.is_set():
            return job
        on_progress(Progress(job.bytes_done, job.bytes_total, job.phase))
        if not Job.objects.due().filter(pk=job.pk).exists():
            time.sleep(0.5)
            put_back_abandoned()  # a shell may be all that runs: nobody else sweeps after its dead predecessor


def _claim(job_id: int) -> Job | None:
    owner = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
    return Job.objects.get(pk=job_id) if Job.objects.claim(job_id, owner) else None


def _work(lease: Lease) -> None:
    job = lease.job
    try:
        with lease.beating():
            outcome = _handlers[job.kind](lease)
        if isinstance(outcome, Again):
            _continue_later(lease, outcome)
        else:
            _finish(lease, "succeeded", result=outcome or {}, error_code="", error_message="")
    except LeaseLost:
        logger.warning("job %s (%s): lost the lease; the newer holder goes on", job.pk, job.label)
    except JobCancelled:
        _finish(lease, "cancelled")
    except JobFailed as failure:
        _fail_or_retry(lease, failure)
    except Exception as error:
        logger.exception("job %s (%s) raised", job.pk, job.label)
        _fail_or_retry(lease, JobFailed("internal-error", f"{type(error).__name__}: {error}", retryable=True))


def _finish(lease: Lease, state: str, **values: Any) -> None:
    now = lease._progress
    rows = Job.objects.held(lease.job.pk, lease.job.fence)
    done = rows.update(
        state=state, finished_at=Now(), lease_until=None, bytes_total=now.bytes_total,
        bytes_done=Greatest(F("bytes_done"), Value(now.bytes_done)), **values,
    )  # fmt: skip
    if done:
        logger.info("job %s (%s): %s", lease.job.pk, lease.job.label, state)


def _continue_later(lease: Lease, again: Again) -> None:
    why = {"error_code": again.code, "error_message": again.reason} if again.after_seconds > 0 else {}
    if why:
        job = lease.job
        logger.warning("job %s (%s) waits %.0f s: %s", job.pk, job.label, again.after_seconds, again.reason)
    _put_back(lease, again.after_seconds, attempts=0, **why)


def _put_back(lease: Lease, after_seconds: float, **values: Any) -> None:
    job = lease.job
    Job.objects.held(job.pk, job.fence).update(
        state="queued",
        owner="",
        lease_until=None,
        nudged_at=None,
        run_after=Now() + timedelta(seconds=after_seconds),
        **values,
    )
    if after_seconds <= 0 and not stopping.is_set():
        nudge(job)


def _fail_or_retry(lease: Lease, failure: JobFailed) -> None:
    job = lease.job
    error = {"error_code": failure.code, "error_message": failure.message}
    if not failure.retryable or job.attempts >= job.max_attempts:
        _finish(lease, "failed", **error)
        return
    wait = failure.retry_after_seconds
    if wait is None:
        wait = min(FIRST_RETRY_SECONDS * 2 ** (job.attempts - 1), LONGEST_RETRY_SECONDS)
        wait *= random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
    logger.warning("job %s (%s): %s Again in %.0f s.", job.pk, job.label, failure.message, wait)
    _put_back(lease, wait, **error)
