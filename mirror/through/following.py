"""The body of a download whose bytes are still on their way: read behind their writer, whoever that is.

What is staged is not proven yet. So the last byte of a file is held back until its digest was right and the blob has
its name; when the bytes turn out to be wrong, the body ends early, and no client takes it for the whole file.
"""

import errno
import logging
import time
from collections.abc import Iterator

from mirror.blobs.store import BlobStore, StagedBusy, StagedGone, StoreError, blob_key
from mirror.sync import stage_name
from mirror.through.fetches import is_failure_remembered, latest_fetch, may_fetch, submit_fetch
from mirror.through.running import is_parked, room, sleep_or_done, start, start_or_nudge
from registry.models import Blob, File, Job
from registry.sweep import put_back_abandoned

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
SMALL_BYTES = 1 << 20  # such a file is proven before its answer begins, if upstream is not slow
FIRST_BYTE_SECONDS = 8.0  # clients give up when no header came for ten
STALLED_SECONDS = 120.0  # after so long without a byte the client is sent away, to come back later
LOOK_SECONDS = {"directory": 0.05, "s3": 0.5}  # a look costs a system call, or a request
ROW_SECONDS = 0.25  # between two looks at the rows, by whoever has all that is staged but the last byte
QUIET_SECONDS = 1.0  # without a new byte before anybody else looks at them
SWEEP_SECONDS = 2.0


class BrokenOff(ConnectionResetError):
    """The body cannot be given to its end. A server that sees this closes the connection, which tells the client."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.ECONNRESET, message)


class Failed(Exception):
    """The bytes cannot be had now; `job` says why."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.error_message)
        self.job = job


class NotAllowed(Exception):
    """Only upstream has the bytes, and nothing may be taken from there now."""


def ask_for(file: File) -> Job:
    """The unfinished job that brings the bytes; somebody works on it. Raises Failed if one failed a moment ago."""
    repo = file.commit.repo
    if not may_fetch(repo):
        raise NotAllowed
    job = latest_fetch(repo, file.etag)
    if job and is_failure_remembered(job):
        raise Failed(job)
    if job is None or job.is_finished:
        job = submit_fetch(file)
    start_or_nudge(job)
    return job


class Following:
    """Bytes [start, end) of a file that is being fetched. Holds a place to wait until it is closed."""

    def __init__(self, store: BlobStore, file: File, job: Job, start: int, end: int) -> None:
        room.take()
        self._store, self._file, self._job = store, file, job
        self._position, self._end = start, end
        self._stage = stage_name(file.commit.repo.repo_id, file.etag)
        self._tail = store.tail(self._stage)
        self._wrong_at = job.checkpoint.get("wrong_at")
        self._looked_at = self._swept_at = 0.0
        self._is_begun = self._is_closed = False

    def wait_for_first(self, seconds: float = FIRST_BYTE_SECONDS) -> Blob | None:
        """Returns when the first of the bytes can be given, or the file is held: then its blob; or when time is over.

        Small files are waited for to the end. Raises Failed when the bytes cannot be had, and when nobody has
        brought any of them in time.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._file.size_bytes > SMALL_BYTES and self._ready() > self._position:
                return None
            if blob := self._look():
                return blob
            if is_parked(self._job) and self._job.error_code != StagedBusy.code:
                raise Failed(self._job)
            self._pause()
        if self._ready() or self._job.bytes_done:
            return None  # they arrive, but not yet those that were asked for
        raise Failed(self._job)

    def __iter__(self) -> Iterator[bytes]:
        """Blocks of at most 1 MiB. Raises BrokenOff when the bytes turn out wrong or stop coming."""
        try:
            yield from self._blocks()
        except (Failed, StagedGone, StoreError) as error:
            message = f"{self._job.label}: a download was cut at byte {self._position}: {error}"
            logger.warning("%s", message)
            raise BrokenOff(message) from error
        finally:
            self.close()

    def close(self) -> None:
        """The place to wait is free. Idempotent; whoever sends the body calls it however that ends."""
        if not self._is_closed:
            self._is_closed = True
            self._tail.close()
            room.leave()

    def _blocks(self) -> Iterator[bytes]:
        moved_at, self._is_begun = time.monotonic(), True
        while self._position < self._end:
            ready = self._ready()
            if ready > self._position:
                wanted = min(ready - self._position, BLOCK_BYTES)
                data = self._tail.read(self._position, wanted)
                self._position += len(data)
                yield data
                moved_at = time.monotonic()
                continue
            quiet = time.monotonic() - moved_at
            is_due = quiet > QUIET_SECONDS or self._position >= self._file.size_bytes - 1
            if is_due and (blob := self._look()):
                yield from self._rest(blob)
            elif quiet > STALLED_SECONDS:
                raise Failed(self._job)
            else:
                self._pause()

    def _ready(self) -> int:
        """Up to where bytes may be given: those that are staged, without the last one of the file.

        Staged bytes that are gone were promoted, and the blob will have the rest, or were wrong: then this raises.
        """
        try:
            staged = self._tail.size_bytes()
        except StagedGone:
            self._refuse_doubt()
            return 0
        return min(staged, self._file.size_bytes - 1, self._end)

    def _look(self) -> Blob | None:
        """The blob, once it is recorded; asks the rows now and then. Raises Failed when the job has."""
        now = time.monotonic()
        if now - self._looked_at < ROW_SECONDS:
            return None
        self._looked_at = now
        self._job.refresh_from_db()
        blob = Blob.objects.filter(files=self._file.pk).first()
        if blob is None and self._job.is_finished:
            raise Failed(self._job)
        if blob is None:
            self._look_after(now)
        else:
            self._refuse_doubt()
        return blob

    def _refuse_doubt(self) -> None:
        """What was given before is the beginning of the file that is there now; raises StagedGone if it may not be."""
        self._job.refresh_from_db()
        if self._job.checkpoint.get("wrong_at") == self._wrong_at:
            return
        if self._is_begun or self._position:
            raise StagedGone(self._stage)
        self._wrong_at = self._job.checkpoint.get("wrong_at")
        self._tail.close()
        self._tail = self._store.tail(self._stage)

    def _look_after(self, now: float) -> None:
        """A job that nobody works on is worked on here; one whose process died is put back first."""
        if self._job.state == Job.State.QUEUED and not is_parked(self._job):
            start(self._job)
        if now - self._swept_at > SWEEP_SECONDS:
            self._swept_at = now
            put_back_abandoned()

    def _rest(self, blob: Blob) -> Iterator[bytes]:
        with self._store.open(blob_key(blob.sha256), self._position, self._end - self._position) as reader:
            while data := reader.read(BLOCK_BYTES):
                self._position += len(data)
                yield data

    def _pause(self) -> None:
        sleep_or_done(self._job.pk, LOOK_SECONDS.get(self._store.name, 0.5))
