"""Where verified files end up: the shared cache, or a plain folder. Both stage on the same disk and move once.

Nothing appears under a final name before `accept` is called with bytes whose digest was right.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Callable, Protocol

from holdfast.cache import RepoCache, link_blob, tag_cache
from holdfast.disk import disk_errors
from holdfast.errors import FileInTheWay, UnsafePath
from holdfast.hashing import hash_file
from holdfast.paths import is_inside
from holdfast.remote import RemoteFile
from holdfast.text import printable

FOLDER_STAGING = ".holdfast"


class Destination(Protocol):
    """A place for the files of one commit."""

    root: Path

    def holds(self, file: RemoteFile) -> bool:
        """Whether the file is there already."""

    def lock_path(self, file: RemoteFile) -> Path:
        """The lock that keeps two processes from fetching the same bytes."""

    def staged_path(self, file: RemoteFile) -> Path:
        """Where the bytes grow."""

    def accept(self, file: RemoteFile, move_to: Callable[[Path], None]) -> None:
        """Gives verified bytes their name, by calling `move_to` with it."""

    def path_of(self, file: RemoteFile) -> Path:
        """Where the file is found afterwards."""

    def publish(
        self, files: Sequence[RemoteFile], listing: Iterable[RemoteFile], revision: str | None
    ) -> None:
        """Afterwards every file is found under its path. All of them have been accepted or were held."""


class CacheDestination:
    """The Hugging Face cache: a blob per digest, a snapshot of links per commit, a ref per revision."""

    def __init__(self, repo: RepoCache, commit: str, *, symlinks: bool) -> None:
        self.repo = repo
        self.commit = commit
        self.root = repo.snapshot_path(commit)
        self._symlinks = symlinks

    def holds(self, file: RemoteFile) -> bool:
        """By name and size: the name of a blob is its digest, and `holdfast check` re-hashes."""
        return any(
            _has_size(path, file.size_bytes) for path in (self.repo.blob_path(file.etag), self._copy_of(file))
        )

    def _copy_of(self, file: RemoteFile) -> Path:
        """Where disks without links keep the bytes themselves."""
        return self.root / file.path

    def lock_path(self, file: RemoteFile) -> Path:
        return self.repo.lock_path(file.etag)

    def staged_path(self, file: RemoteFile) -> Path:
        return self.repo.staged_path(file.etag)

    def accept(self, file: RemoteFile, move_to: Callable[[Path], None]) -> None:
        move_to(self.repo.blob_path(file.etag))

    def path_of(self, file: RemoteFile) -> Path:
        return self.root / file.path

    def publish(
        self, files: Sequence[RemoteFile], listing: Iterable[RemoteFile], revision: str | None
    ) -> None:
        """Links first, then the listing, the ref last: what a ref names is complete."""
        with disk_errors(self.repo.folder):
            for file in files:
                self._link(file)
        with disk_errors(self.repo.folder) if not self._is_published(files) else contextlib.suppress(OSError):
            tag_cache(self.repo.cache_dir)
            self.repo.write_tree(self.commit, listing)
            if revision is not None:
                self.repo.write_ref(revision, self.commit)

    def _is_published(self, files: Sequence[RemoteFile]) -> bool:
        """A complete snapshot in a cache that we may only read is good enough."""
        return not os.access(self.repo.folder, os.W_OK) and all(self.path_of(file).exists() for file in files)

    def _link(self, file: RemoteFile) -> None:
        blob, pointer = self.repo.blob_path(file.etag), self.path_of(file)
        if not blob.exists() and _has_size(pointer, file.size_bytes):
            return
        try:
            link_blob(blob, pointer, snapshot=self.root, symlinks=self._symlinks)
        except ValueError as error:
            raise leads_outside(file.path, self.root) from error


class FolderDestination:
    """A plain folder, files under their own names. Bytes that the cache holds are copied (and hashed), not fetched."""

    def __init__(self, folder: Path, cached: RepoCache, *, force: bool) -> None:
        self.root = folder
        self._cached = cached
        self._force = force

    def holds(self, file: RemoteFile) -> bool:
        """By digest, because a name says nothing here. Raises FileInTheWay for other bytes, unless forced."""
        path = self.path_of(file)
        if not os.path.lexists(path):
            return False
        if _has_size(path, file.size_bytes) and _has_digest(path, file):
            return True
        if self._force and not path.is_dir():
            return False
        raise FileInTheWay(
            f"{printable(path)} exists and is not {printable(file.path)} of this commit",
            hint="Move it away, or pass --force to replace it. Nothing was written.",
            path=str(path),
        )

    def lock_path(self, file: RemoteFile) -> Path:
        return self.root / FOLDER_STAGING / f"{_short_name(file)}.lock"

    def staged_path(self, file: RemoteFile) -> Path:
        return self.root / FOLDER_STAGING / f"{_short_name(file)}.incomplete"

    def cached_copy(self, file: RemoteFile) -> Path | None:
        """The same bytes in the cache, if they are there. Not verified."""
        blob = self._cached.blob_path(file.etag)
        return blob if _has_size(blob, file.size_bytes) else None

    def accept(self, file: RemoteFile, move_to: Callable[[Path], None]) -> None:
        path = self.path_of(file)
        if path.parent != self.root:
            self._make_folder(path)
        move_to(path)

    def _make_folder(self, path: Path) -> None:
        """Checked before it is made and again after, so that no folder is made outside either."""
        for folder in reversed([parent for parent in path.parents if self.root in parent.parents]):
            if not is_inside(folder, self.root) or (
                folder.is_symlink() and not is_inside(folder / "x", self.root)
            ):
                raise leads_outside(str(path.relative_to(self.root)), self.root)
            folder.mkdir(exist_ok=True)

    def path_of(self, file: RemoteFile) -> Path:
        return self.root / file.path

    def publish(
        self, files: Sequence[RemoteFile], listing: Iterable[RemoteFile], revision: str | None
    ) -> None:
        """Files that are equal were fetched once: the others become copies. The staging folder goes if it is empty."""
        first = {file.etag: file for file in reversed(files)}
        with disk_errors(self.root):
            for file in files:
                if first[file.etag] is not file and not self.holds(file):
                    self._copy(self.path_of(first[file.etag]), file)
        self._tidy()

    def _copy(self, source: Path, file: RemoteFile) -> None:
        staged = self.staged_path(file)
        shutil.copyfile(source, staged)
        self.accept(file, moving(staged))

    def _tidy(self) -> None:
        staging = self.root / FOLDER_STAGING
        if any(staging.glob("*.incomplete*")):
            return  # another process is at work here, or an earlier one was interrupted
        with contextlib.suppress(OSError):
            for lock in staging.glob("*.lock"):
                lock.unlink()
            staging.rmdir()


def moving(staged: Path) -> Callable[[Path], None]:
    """A `move_to` for a plain staged file."""

    def move_to(final: Path) -> None:
        staged.replace(final)

    return move_to


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        return path.is_file() and path.stat().st_size == size_bytes
    except OSError:
        return False


def _has_digest(path: Path, file: RemoteFile) -> bool:
    got = hash_file(path, with_git=file.sha256 is None)
    return got.sha256 == file.sha256 if file.sha256 is not None else got.git_oid == file.git_oid


def _short_name(file: RemoteFile) -> str:
    return f"{hashlib.sha256(file.path.encode()).hexdigest()[:12]}-{file.etag[:16]}"


def leads_outside(path: str, root: Path) -> UnsafePath:
    """A symlink that lies in the destination would carry a file out of it."""
    return UnsafePath(
        f"{printable(path)} would be written outside {printable(root)}: a folder on its way is a symlink",
        hint="Remove the link, or choose another --dest. Nothing was written there.",
        path=path,
        folder=str(root),
    )
