"""When bytes of a pulled-through commit are here: files get their blobs, and a commit that lacks none is complete."""

from django.db.models import QuerySet

from registry.models import Blob, Commit, File


def complete(row: Commit, blobs: dict[str, Blob], manifest_sha256: str) -> bool:
    """True if the commit was not complete and is so now, with these blobs by digest in their places."""
    if row.is_complete:
        return False
    for digest, blob in blobs.items():
        link(row.files.filter(blob=None), digest, blob)
    values = {"is_complete": True, "manifest_sha256": manifest_sha256}
    still = Commit.objects.filter(pk=row.pk, is_complete=False)
    if row.files.filter(blob=None).exists() or not still.update(**values):
        return False
    row.is_complete, row.manifest_sha256 = True, manifest_sha256
    return True


def link(files: QuerySet[File], digest: str, blob: Blob) -> int:
    of_digest = {"lfs_sha256": digest} if len(digest) == 64 else {"git_oid": digest, "is_lfs": False}
    return files.filter(**of_digest, size_bytes=blob.size_bytes).update(blob=blob)
