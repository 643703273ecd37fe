"""LFS objects of a repo: which are there, who may name them, and how one that was sent becomes a blob.

Knowing a sha256 is no proof of having the bytes. An object counts as there for somebody only if a repo that they may
read has it, or if it was brought to this repo: by anybody, for those who may write to it, and by themselves, for
those who offer a pull request. All others send the bytes.
"""

import re
from collections.abc import Collection, Iterable

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from mirror.blobs.store import BlobStore, Staged, blob_key
from mirror.holding import QUERY_SIZE, Stored, hold
from registry.access import may_write, readable_repos
from registry.models import Blob, File, Repo, Upload

SHA256 = re.compile(r"[0-9a-f]{64}")
HELD = (Blob.State.PRESENT, Blob.State.EVICTED)


def known_objects(user: User, repo: Repo, digests: Collection[str]) -> dict[str, Blob]:
    """Those of the objects that `user` may name in a commit to `repo`, by sha256. A query per 500, and one."""
    readable = Q()
    for repo_type in Repo.Type:
        readable |= Q(commit__repo__in=readable_repos(user, repo_type).values("pk"))
    files = File.objects.filter(readable, blob=OuterRef("pk"))
    brought = Upload.objects.filter(repo=repo, blob=OuterRef("pk"))
    if not may_write(user, repo):
        brought = brought.filter(created_by=user)
    found: dict[str, Blob] = {}
    ordered = sorted(digests)
    for start in range(0, len(ordered), QUERY_SIZE):
        rows = Blob.objects.filter(sha256__in=ordered[start : start + QUERY_SIZE], state__in=HELD)
        found |= {row.sha256: row for row in rows.filter(Exists(brought) | Exists(files))}
    return found


def stage_name(upload: Upload) -> str:
    """Where the bytes of an upload wait: by its number and digest, so that nothing else ever has the name."""
    return f"upload-{upload.pk}-{upload.sha256[:16]}"


def announce(user: User, repo: Repo, sha256: str, size_bytes: int) -> Upload:
    """The row of an object that `user` will send; nobody else's row is touched. Idempotent."""
    upload, is_new = Upload.objects.get_or_create(
        repo=repo, sha256=sha256, created_by=user, defaults={"size_bytes": size_bytes}
    )
    if not is_new:  # what it had, if anything, is lost: else nobody would ask for an address
        upload.size_bytes, upload.blob = size_bytes, None
        upload.save(update_fields=["size_bytes", "blob", "touched_at"])
    return upload


def pin(user: User, repo: Repo, blobs: Iterable[Blob]) -> None:
    """Objects that are there need not be sent, and stay until a commit names them or the grace period ends."""
    with transaction.atomic():
        for blob in blobs:
            Upload.objects.update_or_create(
                repo=repo, sha256=blob.sha256, created_by=user,
                defaults={"blob": blob, "size_bytes": blob.size_bytes},
            )  # fmt: skip


def keep(store: BlobStore, upload: Upload, staged: Staged) -> Blob:
    """What was staged is the blob that was announced, and the upload says so. Raises DigestMismatch."""
    is_new = store.promote(
        staged, blob_key(upload.sha256), sha256=upload.sha256, size_bytes=upload.size_bytes
    )
    with transaction.atomic():
        blob = hold([Stored(upload.sha256, upload.size_bytes, is_new=is_new)])[upload.sha256]
        Upload.objects.filter(pk=upload.pk).update(blob=blob, parts={})
    return blob


def settle(repo: Repo, digests: Collection[str]) -> None:
    """A commit names these objects now, so their uploads are over. Inside its transaction."""
    ordered = sorted(digests)
    for start in range(0, len(ordered), QUERY_SIZE):
        batch = ordered[start : start + QUERY_SIZE]
        Upload.objects.filter(repo=repo, sha256__in=batch, blob__isnull=False).delete()
