"""The files of a commit, and what happens to them in the next one."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from mirror.blobs.store import BlobStore, blob_key
from mirror.committing.errors import EntryMissing, Incomplete, PathConflict
from mirror.holding import Stored
from registry.git import git_blob_oid
from registry.models import Commit, File, Repo


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a commit to be; its bytes are in the store.

    `git_oid` is what git's tree says: of the bytes, or of the pointer for an LFS object, whose bytes' own id may be
    known too (`content_oid`). `is_new` says that the bytes were put into the store for this commit, and not found.
    """

    path: str
    sha256: str
    size_bytes: int
    git_oid: str
    is_lfs: bool
    content_oid: str | None = None
    is_new: bool = False

    @property
    def stored(self) -> Stored:
        return Stored(
            self.sha256, self.size_bytes, self.content_oid if self.is_lfs else self.git_oid, self.is_new
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to a path: it becomes `entry`, or, without one, the file or the whole folder goes.

    Clients that do not say `is_folder` mean a file, or else the folder of that name.
    """

    path: str
    entry: Entry | None = None
    is_folder: bool = False


def put_small(store: BlobStore, path: str, data: bytes) -> Entry:
    """The entry of a small file, whose bytes are in the store."""
    sha256 = hashlib.sha256(data).hexdigest()
    is_new = store.put(blob_key(sha256), data)
    return Entry(path, sha256, len(data), git_blob_oid(data), is_lfs=False, is_new=is_new)


def entries_of(commit: Commit) -> dict[str, Entry]:
    """The files of a commit by path. One query. Raises Incomplete unless all of them are held."""
    rows = File.objects.filter(commit=commit).order_by("path")
    facts = rows.values_list("path", "blob__sha256", "size_bytes", "git_oid", "is_lfs")
    entries = {path: Entry(path, sha256, size, oid, is_lfs) for path, sha256, size, oid, is_lfs in facts}
    if any(entry.sha256 is None for entry in entries.values()):
        raise Incomplete(commit)
    return entries


def apply_changes(
    repo: Repo, base: Commit | None, before: dict[str, Entry], changes: Iterable[Change]
) -> dict[str, Entry]:
    """The files after the changes, in their order. Raises EntryMissing, PathConflict."""
    after = dict(before)
    for change in changes:
        if change.entry is not None:
            after[change.path] = change.entry
            continue
        gone = [change.path] if not change.is_folder and change.path in after else _within(after, change.path)
        if not gone:
            raise EntryMissing(repo, change.path, base)
        for path in gone:
            del after[path]
    _check_folders(repo, after)
    return after


def _within(entries: dict[str, Entry], folder: str) -> list[str]:
    start = folder.rstrip("/") + "/"
    return [path for path in entries if path.startswith(start)] if start != "/" else list(entries)


def _check_folders(repo: Repo, entries: dict[str, Entry]) -> None:
    """No path is a folder of another one."""
    for path in entries:
        folder = path.rpartition("/")[0]
        while folder:
            if folder in entries:
                raise PathConflict(repo, path, folder)
            folder = folder.rpartition("/")[0]


def oids_of(entries: dict[str, Entry]) -> dict[str, str]:
    """{path: git oid}: two commits with the same ones have the same tree."""
    return {path: entry.git_oid for path, entry in entries.items()}
