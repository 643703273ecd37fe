"""From what a commit asks for to what happens to the files: attributes decide what git keeps, access what is named."""

from collections.abc import Collection

from django.contrib.auth.models import User

from mirror.blobs.store import BlobStore, blob_key
from mirror.committing import Change, CommitRefused, Entry
from mirror.uploads.modes import is_kept_by_pointer
from mirror.uploads.objects import known_objects
from mirror.uploads.operations import Deleted, Named, Operation, Sent
from mirror.uploads.patterns import MAX_RULES_BYTES, LfsPatterns
from registry.git import lfs_pointer_oid
from registry.models import Blob, Commit, File, Repo

GITATTRIBUTES = ".gitattributes"


class ObjectUnknown(CommitRefused):
    """A commit names an LFS object that nobody brought, or that its author may not read."""

    code = "object-unknown"

    def __init__(self, repo: Repo, named: Named) -> None:
        super().__init__(
            f"{named.path!r}: the LFS object {named.sha256} was not brought to {repo.repo_id}, or is not verified. "
            "Upload it again; nothing was committed."
        )
        self.named = named


class SizeDiffers(CommitRefused):
    """A commit names an LFS object with a size that it does not have."""

    code = "size-differs"

    def __init__(self, named: Named, blob: Blob) -> None:
        super().__init__(
            f"{named.path!r}: the LFS object {named.sha256} has {blob.size_bytes} bytes, not {named.size_bytes}. "
            "Nothing was committed."
        )
        self.named, self.blob = named, blob


def changes_of(
    store: BlobStore, user: User, repo: Repo, base: Commit | None, operations: Collection[Operation]
) -> list[Change]:
    """The changes, in their order. Two or three queries. Raises ObjectUnknown, SizeDiffers."""
    wanted = {one.sha256 for one in operations if isinstance(one, Named)}
    blobs = known_objects(user, repo, wanted) if wanted else {}
    patterns = LfsPatterns(_attributes(store, base, operations))
    return [_change(repo, one, blobs, patterns) for one in operations]


def _change(repo: Repo, one: Operation, blobs: dict[str, Blob], patterns: LfsPatterns) -> Change:
    if isinstance(one, Deleted):
        return Change(one.path, is_folder=one.is_folder)
    if isinstance(one, Sent):
        return Change(one.path, _sent_entry(one, patterns))
    blob = blobs.get(one.sha256)
    if blob is None:
        raise ObjectUnknown(repo, one)
    if one.size_bytes not in (None, blob.size_bytes):
        raise SizeDiffers(one, blob)
    oid = lfs_pointer_oid(blob.sha256, blob.size_bytes)
    return Change(one.path, Entry(one.path, blob.sha256, blob.size_bytes, oid, is_lfs=True))


def _sent_entry(one: Sent, patterns: LfsPatterns) -> Entry:
    held = one.stored
    own = held.git_oid or ""
    if not is_kept_by_pointer(one.path, held.size_bytes, patterns):
        return Entry(one.path, held.sha256, held.size_bytes, own, is_lfs=False, is_new=held.is_new)
    pointer = lfs_pointer_oid(held.sha256, held.size_bytes)
    return Entry(one.path, held.sha256, held.size_bytes, pointer, True, content_oid=own, is_new=held.is_new)


def _attributes(store: BlobStore, base: Commit | None, operations: Collection[Operation]) -> bytes:
    """The `.gitattributes` that will be in force: that of the commit itself, else of what it follows."""
    own = [one for one in operations if isinstance(one, Sent) and one.path == GITATTRIBUTES]
    if own:
        return read_rules(store, own[-1].stored.sha256, own[-1].stored.size_bytes)
    return rules_in(store, base, GITATTRIBUTES)


def rules_in(store: BlobStore, commit: Commit | None, path: str) -> bytes:
    """The bytes of a small file of rules in the root of a commit; none if it is not there. One query."""
    files = File.objects.filter(commit=commit, path=path).select_related("blob") if commit else []
    file = next(iter(files), None)
    return read_rules(store, file.blob.sha256, file.size_bytes) if file and file.blob else b""


def read_rules(store: BlobStore, sha256: str, size_bytes: int) -> bytes:
    return store.read(blob_key(sha256)) if size_bytes <= MAX_RULES_BYTES else b""
