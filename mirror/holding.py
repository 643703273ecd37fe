"""Rows for bytes that lie in the store: from then on the sweeper leaves them alone."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.utils import timezone

from mirror.blobs.store import blob_key
from mirror.store import blob_store
from registry.models import Blob

QUERY_SIZE = 500


@dataclass(frozen=True, slots=True)
class Stored:
    """Verified bytes under their final name. `git_oid` is theirs as a git blob, where it was computed.

    `is_new` says that they were put there just now, and not found.
    """

    sha256: str
    size_bytes: int
    git_oid: str | None = None
    is_new: bool = False


class BytesLeft(Exception):
    """Bytes that were found in the store, and that no row needed, are there no more: the sweeper came between."""

    code = "bytes-left"

    def __init__(self, sha256: str) -> None:
        super().__init__(f"{sha256} left the blob store while it was about to be recorded. Send it again.")
        self.sha256 = sha256


def hold(stored: Collection[Stored]) -> dict[str, Blob]:
    """The row of each blob by sha256. Inside the transaction that makes them needed; the caller does that next.

    What no row needs yet is locked against the sweeper, which looks under the same lock, and then looked for in the
    store unless it is new. Raises BytesLeft.
    """
    wanted = {one.sha256: one for one in stored}
    rows: dict[str, Blob] = {}
    for some in _in_batches(sorted(wanted)):
        rows |= {row.sha256: row for row in Blob.objects.needed().filter(sha256__in=some)}
    fresh = sorted(wanted.keys() - rows.keys())
    for some in _in_batches(fresh):  # in one order everywhere: two that add the same never wait in a circle
        rows |= _add([wanted[sha256] for sha256 in some])
    for sha256 in fresh:
        if not wanted[sha256].is_new and blob_store().stat(blob_key(sha256)) is None:
            raise BytesLeft(sha256)
    _note_return({*fresh, *(one.sha256 for one in wanted.values() if one.is_new)})
    _note_oids(rows, wanted)
    return rows


def _add(stored: list[Stored]) -> dict[str, Blob]:
    now, store = timezone.now(), blob_store().name
    rows = [
        Blob(sha256=one.sha256, git_oid=one.git_oid, size_bytes=one.size_bytes, store=store, verified_at=now)
        for one in stored
    ]
    Blob.objects.bulk_create(rows, ignore_conflicts=True)
    locked = Blob.objects.select_for_update().filter(sha256__in=[one.sha256 for one in stored])
    return {row.sha256: row for row in locked.order_by("sha256")}


def _note_return(digests: set[str]) -> None:
    """Bytes that were missing or let go, and came back, are present again."""
    for some in _in_batches(sorted(digests)):
        lost = Blob.objects.filter(sha256__in=some).exclude(state=Blob.State.PRESENT)
        lost.update(state=Blob.State.PRESENT, verified_at=timezone.now())


def _note_oids(rows: dict[str, Blob], wanted: dict[str, Stored]) -> None:
    for sha256, row in rows.items():
        if row.git_oid is None and wanted[sha256].git_oid:
            Blob.objects.filter(pk=row.pk).update(git_oid=wanted[sha256].git_oid)


def _in_batches(values: list[str]) -> Iterable[list[str]]:
    return (values[start : start + QUERY_SIZE] for start in range(0, len(values), QUERY_SIZE))
