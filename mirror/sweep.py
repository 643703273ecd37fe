"""Deletes what nobody needs after a grace period: staged leftovers, and blobs that nothing refers to.

A blob is deleted only if all of this is so, and it is looked at again right before:

* no row needs it, such as a File, an Artifact or a report (the database itself refuses to drop what is referred to);
* it was stored longer ago than the grace period;
* no manifest in the bucket names it: a lost row is no reason to lose bytes. Those of repos that were deleted do not
  count, and go first, where a crash left any;
* no job that moves bytes is unfinished: one may have found the blob in the store and be about to record it.

Row and object go under the lock of the row, which `mirror/holding.py` takes too: a commit that finds the bytes in that
moment waits, and then sees that they are gone. A crash leaves a row that nothing needs, and whose bytes the next who
brings them puts back.

Uploads that no commit named within the grace period are forgotten first; their bytes go like all others.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from mirror.blobs.keys import BLOBS, COMMITS
from mirror.blobs.store import BlobStore, Stat, sha256_of
from mirror.deleting import forget_manifests, left_behind
from registry.models import Blob, Event, Job, Upload

AGENT = "holdfast sweep"
GRACE = timedelta(days=7)
MOVING_KINDS = ("mirror", "fetch", "verify", "convert", "validate", "rebuild")
BATCH = 500


@dataclass
class Swept:
    """What a sweep did, or with `dry_run` would do. `waits_for_jobs`: blobs were spared because jobs are unfinished."""

    staged: list[Stat] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    blobs: list[Stat] = field(default_factory=list)
    n_uploads: int = 0
    kept_by_manifest: list[str] = field(default_factory=list)
    waits_for_jobs: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(stat.size_bytes for stat in [*self.staged, *self.blobs])


def sweep_store(
    store: BlobStore, *, grace: timedelta = GRACE, now: datetime | None = None, dry_run: bool = False
) -> Swept:
    """Nothing older than the grace period is left that no row, no manifest and no job needs. Idempotent.

    Memory grows with what is to be deleted, not with what is kept. Manifests are read only if something is.
    """
    before = (now or timezone.now()) - grace
    swept = Swept()
    if dry_run:
        swept.staged = [stat for stat in store.staged_names() if stat.modified_at < before]
    else:
        swept.staged = list(store.discard_abandoned(before))
    swept.n_uploads = _forget_uploads(before, dry_run)
    orphans = left_behind(store)
    swept.manifests = orphans if dry_run else forget_manifests(store, orphans)
    candidates = {sha256_of(stat.key) or "": stat for stat in _unreferenced(store, before)}
    if candidates:
        swept.kept_by_manifest = sorted(candidates.keys() & _named_by_manifests(store, candidates.keys()))
        doomed = [stat for sha256, stat in candidates.items() if sha256 not in set(swept.kept_by_manifest)]
        _delete_blobs(store, swept, doomed, dry_run)
    return swept


# --- what could go ---------------------------------------------------------------------------------------------


def _forget_uploads(before: datetime, dry_run: bool) -> int:
    """How many uploads were brought before then, named by no commit, and not touched since; they are gone."""
    old = Upload.objects.filter(touched_at__lt=before)
    return old.count() if dry_run else old.delete()[0]


def _unreferenced(store: BlobStore, before: datetime) -> Iterator[Stat]:
    """Objects that were stored before then and that no row needs. One query per 500 objects."""
    batch: list[Stat] = []
    for stat in store.list(BLOBS):
        if sha256_of(stat.key) and stat.modified_at < before:
            batch.append(stat)
        if len(batch) == BATCH:
            yield from _without_references(batch)
            batch = []
    yield from _without_references(batch)


def _without_references(batch: list[Stat]) -> Iterator[Stat]:
    digests = [stat.key[-64:] for stat in batch]
    needed = set(Blob.objects.needed().filter(sha256__in=digests).values_list("sha256", flat=True))
    return (stat for stat in batch if stat.key[-64:] not in needed)


def _named_by_manifests(store: BlobStore, digests: Iterable[str]) -> set[str]:
    """Those of the digests that some manifest in the bucket names; all of them if one cannot be read."""
    wanted, named = set(digests), set[str]()
    for stat in store.list(COMMITS):
        listed = _digests_in(store.read(stat.key))
        if listed is None:
            return wanted
        named |= wanted & listed
    return named


def _digests_in(manifest: bytes) -> set[str] | None:
    try:
        return {file["sha256"] for file in json.loads(manifest)["files"]}
    except (ValueError, KeyError, TypeError):
        return None


# --- deleting --------------------------------------------------------------------------------------------------


def _delete_blobs(store: BlobStore, swept: Swept, doomed: list[Stat], dry_run: bool) -> None:
    for stat in doomed:
        if Job.objects.unfinished().filter(kind__in=MOVING_KINDS).exists():
            swept.waits_for_jobs = True
            return
        if dry_run or _delete_blob(store, stat):
            swept.blobs.append(stat)


def _delete_blob(store: BlobStore, stat: Stat) -> bool:
    """True when row and object are gone; False when somebody began to need them."""
    sha256 = stat.key[-64:]
    with transaction.atomic():
        # Without a row there is nothing to lock, and who makes one meanwhile would not wait for us.
        lock = Blob(sha256=sha256, size_bytes=stat.size_bytes, store=store.name)
        Blob.objects.bulk_create([lock], ignore_conflicts=True)
        row = Blob.objects.select_for_update().get(sha256=sha256)
        if Blob.objects.needed().filter(pk=row.pk).exists():
            return False
        Event.objects.create(
            type=Event.Type.DELETION, agent=AGENT, detail={"sha256": sha256, "size_bytes": stat.size_bytes},
            summary=f"blob {sha256[:12]}… ({stat.size_bytes} bytes) deleted: nothing refers to it",
        )  # fmt: skip
        store.delete(stat.key)
        row.delete()
    return True
