"""Where verified files end up: the shared cache, or a plain folder. Both stage on the same disk and move once.

Nothing appears under a final name before `accept` is called with bytes whose digest was right.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Callable, Protocol

from holdfast.cache import RepoCache, link_blob, link_new, make_link_folder, tag_cache
from holdfast.disk import disk_errors
from holdfast.errors import FileInTheWay
from holdfast.hashing import hash_file
from holdfast.holdings import Holdings
from holdfast.linking import COPY, HARDLINK, REFLINK, bring
from holdfast.locks import shared
from holdfast.paths import is_inside, leads_outside
from holdfast.remote import RemoteFile
from holdfast.text import printable

FOLDER_STAGING = ".holdfast"
ADOPTING = ".holdfast.adopting"


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

    def in_use(self) -> AbstractContextManager[None]:
        """Until the end no process of ours takes away what this place holds, or what it is filled from."""

    def copies(self, file: RemoteFile) -> list[Path]:
        """Files of this machine that claim to be this one. Not verified."""

    def needs_room(self, file: RemoteFile) -> bool:
        """Whether the file's bytes will take room on the disk although they are on this machine."""

    def bring(self, copy: Path, file: RemoteFile) -> Path | None:
        """The staged file that shows the bytes of the copy, to be hashed and then accepted; None if it cannot be had
        in a way that was asked for.
        """

    def publish(
        self, files: Sequence[RemoteFile], listing: Iterable[RemoteFile], revision: str | None
    ) -> None:
        """Afterwards every file is found under its path. All of them have been accepted or were held."""


class CacheDestination:
    """The Hugging Face cache: a blob per digest, a snapshot of links per commit, a ref per revision.

    What other stores of this machine hold becomes a blob as a reflink or a hard link, and as a copy only if
    `link_mode` says so: otherwise fetching costs no more room.
    """

    def __init__(
        self,
        repo: RepoCache,
        commit: str,
        *,
        symlinks: bool,
        holdings: Holdings | None = None,
        link_mode: str | None = None,
    ) -> None:
        self.repo = repo
        self.commit = commit
        self.root = repo.snapshot_path(commit)
        self._symlinks = symlinks
        self._holdings = holdings
        self._ways = (REFLINK, HARDLINK) if link_mode is None else (link_mode,)

    def in_use(self) -> AbstractContextManager[None]:
        return shared(self.repo.use_lock_path)

    def copies(self, file: RemoteFile) -> list[Path]:
        return [] if self._holdings is None else self._holdings.find_copies(self.repo.repo_id, file)

    def needs_room(self, file: RemoteFile) -> bool:
        return COPY in self._ways

    def bring(self, copy: Path, file: RemoteFile) -> Path | None:
        return _brought(copy, self.repo.folder / "blobs" / f"{file.etag}{ADOPTING}", self._ways)

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
        """Links first, then the listing, the ref last: what a ref names is complete. Links tell when they were last
        wanted: see inventory.py.
        """
        with disk_errors(self.repo.folder):
            self._make_folders(files)
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

    def _make_folders(self, files: Sequence[RemoteFile]) -> None:
        for folder, path in {self.path_of(file).parent: file.path for file in files}.items():
            try:
                make_link_folder(folder, self.root)
            except ValueError as error:
                raise leads_outside(path, self.root) from error

    def _link(self, file: RemoteFile) -> None:
        blob, pointer = self.repo.blob_path(file.etag), self.path_of(file)
        if self._symlinks and link_new(blob, pointer):
            return
        if not blob.exists() and _has_size(pointer, file.size_bytes):
            return
        link_blob(blob, pointer, symlinks=self._symlinks)
        if pointer.is_symlink() and os.utime in os.supports_follow_symlinks:
            with contextlib.suppress(OSError):
                os.utime(pointer, follow_symlinks=False)


class FolderDestination:
    """A plain folder, files under their own names. Bytes that this machine holds are brought (and hashed), not fetched:
    as a reflink, or else a copy. A hard link must be asked for, because whoever edits the file then changes the cache.
    """

    def __init__(
        self,
        folder: Path,
        cached: RepoCache,
        *,
        force: bool,
        holdings: Holdings | None = None,
        link_mode: str | None = None,
    ) -> None:
        self.root = folder
        self._cached = cached
        self._force = force
        self._holdings = holdings
        self._ways = (REFLINK, COPY) if link_mode is None else (link_mode,)

    def in_use(self) -> AbstractContextManager[None]:
        if self._cached.folder.is_dir():
            return shared(self._cached.use_lock_path)
        return contextlib.nullcontext()

    def copies(self, file: RemoteFile) -> list[Path]:
        cached = self.cached_copy(file)
        others = [] if self._holdings is None else self._holdings.find_copies(self._cached.repo_id, file)
        return [cached, *(path for path in others if path != cached)] if cached else others

    def needs_room(self, file: RemoteFile) -> bool:
        return COPY in self._ways

    def bring(self, copy: Path, file: RemoteFile) -> Path | None:
        return _brought(copy, self.root / FOLDER_STAGING / f"{_short_name(file)}{ADOPTING}", self._ways)

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
        if any(any(staging.glob(name)) for name in ("*.incomplete*", f"*{ADOPTING}")):
            return  # another process is at work here, or an earlier one was interrupted
        with contextlib.suppress(OSError):
            for lock in staging.glob("*.lock"):
                lock.unlink()
            staging.rmdir()


def _brought(copy: Path, staged: Path, ways: Sequence[str]) -> Path | None:
    """Never under the name of an unfinished file: those are written to, and this may be a hard link."""
    staged.parent.mkdir(parents=True, exist_ok=True)
    return staged if bring(copy, staged, ways) is not None else None


def moving(staged: Path) -> Callable[[Path], None]:
    """A `move_to` for a plain staged file."""

    def move_to(final: Path) -> None:
        staged.replace(final)

    return move_to


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size_bytes


def _has_digest(path: Path, file: RemoteFile) -> bool:
    got = hash_file(path, with_git=file.sha256 is None)
    return got.sha256 == file.sha256 if file.sha256 is not None else got.git_oid == file.git_oid


def _short_name(file: RemoteFile) -> str:
    return f"{hashlib.sha256(file.path.encode()).hexdigest()[:12]}-{file.etag[:16]}"
