"""Every blob row against every object in the store, both ways, and the sha256 of every byte.

Rows and objects are walked side by side in the order of their digests, so neither list is ever in memory. What looks
wrong is looked at again before it is believed: a job may have stored or recorded a blob while we walked.
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.models import Sum
from django.utils import timezone

from mirror.blobs.keys import BLOBS
from mirror.blobs.store import BlobStore, Stat, StoreError, blob_key, sha256_of
from mirror.fixity.report import Finding, OnProgress, Report
from registry.models import Blob, Event

AGENT = "holdfast audit"
READ_BYTES = 1 << 20
N_HASHERS = 2
BATCH_ROWS = 500
KNOWN_DAMAGED = "an earlier audit found other bytes here; only hashing them again, or a repair, clears that."


class Pair(NamedTuple):
    """What the catalog and the store have under one digest; at least one of them has something."""

    sha256: str
    blob: Blob | None
    stat: Stat | None


@dataclass(frozen=True, slots=True)
class Hashed:
    """What the bytes of a blob turned out to be; `error` if they could not be read."""

    blob: Blob
    sha256: str
    at: datetime
    error: str = ""


def check_blobs(
    store: BlobStore,
    report: Report,
    *,
    quick: bool,
    unverified_since: datetime | None,
    on_progress: OnProgress,
) -> Iterator[tuple[Finding, Blob]]:
    """Every blob is compared by size and, unless `quick`, by sha256; rows say what was found, and when.

    A quick look repeats what is known to be damaged. Yields each error with its row as soon as it is recorded, so that
    it can be repaired. With `unverified_since` only what was not verified since then is hashed. Raises StoreError when
    the store itself is out of reach.
    """
    total = Blob.objects.aggregate(total=Sum("size_bytes"))["total"] or 0
    done = 0
    with ThreadPoolExecutor(N_HASHERS, "audit-hash") as pool:
        verifier = _Verifier(store, pool)
        for pair in _pairs(store, report):
            report.n_blobs += pair.blob is not None
            if (blob := pair.blob) is None:
                _note_orphan(store, report, pair)
            elif blob.state == Blob.State.EVICTED:
                _note_left_behind(report, pair)
            elif fault := _fault_of_size(store, pair):
                yield _record_fault(report, blob, *fault), blob
            elif quick and blob.state == Blob.State.DAMAGED:
                yield report.add("blob-damaged", blob_key(blob.sha256), KNOWN_DAMAGED), blob
            elif not quick and _is_due(blob, unverified_since):
                yield from _settle(report, verifier.add(blob))
            done += blob.size_bytes if blob else 0
            on_progress("blobs", done, total)
        yield from _settle(report, verifier.rest())


def _is_due(blob: Blob, unverified_since: datetime | None) -> bool:
    is_fresh = unverified_since and blob.verified_at and blob.verified_at >= unverified_since
    return not is_fresh or blob.state != Blob.State.PRESENT


# --- side by side ----------------------------------------------------------------------------------------------


def _pairs(store: BlobStore, report: Report) -> Iterator[Pair]:
    """Rows and objects merged by digest; both come in ascending order."""
    rows = _rows()
    objects = _objects(store, report)
    blob, stat = next(rows, None), next(objects, None)
    while blob or stat:
        of_row, of_object = blob.sha256 if blob else "~", stat.key[-64:] if stat else "~"
        sha256 = min(of_row, of_object)
        yield Pair(sha256, blob if of_row == sha256 else None, stat if of_object == sha256 else None)
        blob = next(rows, None) if of_row == sha256 else blob
        stat = next(objects, None) if of_object == sha256 else stat


def _rows() -> Iterator[Blob]:
    """All rows by digest, a page at a time: no cursor stays open, as on SQLite that would refuse our own updates."""
    after = ""
    while page := list(Blob.objects.filter(sha256__gt=after).order_by("sha256")[:BATCH_ROWS]):
        yield from page
        after = page[-1].sha256


def _objects(store: BlobStore, report: Report) -> Iterator[Stat]:
    for stat in store.list("blobs/"):
        if stat.key.startswith(BLOBS) and sha256_of(stat.key):
            yield stat
        else:
            report.add("foreign-object", stat.key, f"{stat.key} is not the name of a blob.")


def _note_orphan(store: BlobStore, report: Report, pair: Pair) -> None:
    if pair.stat and not Blob.objects.filter(sha256=pair.sha256).exists() and store.stat(pair.stat.key):
        report.add(
            "blob-orphan", pair.stat.key, f"{pair.stat.size_bytes} bytes that no row of the catalog names."
        )


def _note_left_behind(report: Report, pair: Pair) -> None:
    """Evicted bytes are rightly absent; an eviction that was cut short leaves an object, which the next one removes."""
    if pair.stat:
        what = f"{pair.stat.size_bytes} bytes of an evicted artifact are still here; evict it again."
        report.add("blob-orphan", pair.stat.key, what)


def _fault_of_size(store: BlobStore, pair: Pair) -> tuple[str, str] | None:
    """Code and message if the object is gone or of another size than its row says."""
    assert pair.blob  # noqa: S101  # the caller saw to it
    blob, stat = pair.blob, pair.stat or store.stat(blob_key(pair.sha256))
    if stat is None:
        return "blob-missing", f"the catalog has {blob.size_bytes} bytes here, the store has nothing."
    if stat.size_bytes != blob.size_bytes:
        return "blob-damaged", f"{stat.size_bytes} bytes instead of {blob.size_bytes}."
    return None


# --- hashing ---------------------------------------------------------------------------------------------------


class _Verifier:
    """Hashes blobs in a few threads, not far ahead of what is recorded."""

    def __init__(self, store: BlobStore, pool: ThreadPoolExecutor) -> None:
        self._store, self._pool = store, pool
        self._waiting: deque[Future[Hashed]] = deque()

    def add(self, blob: Blob) -> Iterator[Hashed]:
        """The blob will be hashed; gives what is ready once enough is under way."""
        self._waiting.append(self._pool.submit(hash_blob, self._store, blob))
        while len(self._waiting) > 2 * N_HASHERS:
            yield self._waiting.popleft().result()

    def rest(self) -> Iterator[Hashed]:
        while self._waiting:
            yield self._waiting.popleft().result()


def hash_blob(store: BlobStore, blob: Blob) -> Hashed:
    """The sha256 of what the store gives for the blob. A store that is out of reach is not the blob's fault: raised."""
    digest = hashlib.sha256()
    buffer = bytearray(READ_BYTES)
    try:
        with store.open(blob_key(blob.sha256)) as reader:
            while count := reader.readinto(buffer):  # type: ignore[attr-defined]  # every BufferedReader has it
                digest.update(memoryview(buffer)[:count])
    except StoreError as error:
        if error.retryable:
            raise
        return Hashed(blob, "", timezone.now(), error.message)
    except OSError as error:
        return Hashed(blob, "", timezone.now(), error.strerror or str(error))
    return Hashed(blob, digest.hexdigest(), timezone.now())


def _settle(report: Report, hashed: Iterator[Hashed]) -> Iterator[tuple[Finding, Blob]]:
    """What was hashed is written down."""
    for one in hashed:
        report.n_hashed += 1
        report.bytes_hashed += one.blob.size_bytes
        if one.error:
            message = f"could not be read: {one.error}"
            yield _record_fault(report, one.blob, "blob-unreadable", message), one.blob
        elif one.sha256 != one.blob.sha256:
            message = f"its bytes have sha256 {one.sha256}."
            yield _record_fault(report, one.blob, "blob-damaged", message), one.blob
        else:
            Blob.objects.filter(pk=one.blob.pk).update(verified_at=one.at, state=Blob.State.PRESENT)


def _record_fault(report: Report, blob: Blob, code: str, message: str) -> Finding:
    """The row and an Event say what is wrong with the blob. Two queries."""
    state = Blob.State.MISSING if code == "blob-missing" else Blob.State.DAMAGED
    Blob.objects.filter(pk=blob.pk).update(state=state)
    Event.objects.create(
        type=Event.Type.FIXITY, outcome=Event.Outcome.FAILURE, agent=AGENT, blob=blob,
        summary=f"blob {blob.sha256[:12]}… is {state}: {message}"[:500], detail={"code": code},
    )  # fmt: skip
    return report.add(code, blob_key(blob.sha256), message)
