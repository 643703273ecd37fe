"""Where verified files end up: the shared cache, or a plain folder. Both stage on the same disk and move once.

Nothing appears under a final name before `accept` is called with bytes whose digest was right.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Callable, Protocol

from holdfast.cache.holdings import Holdings
from holdfast.cache.layout import RepoCache, link_blob, link_new, make_link_folder, tag_cache
from holdfast.cache.linking import COPY, HARDLINK, REFLINK, bring
from holdfast.cache.locks import shared
from holdfast.fetching.disk import disk_errors
from holdfast.paths import leads_outside
from holdfast.sources.remote import RemoteFile

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
        return brought(copy, self.repo.folder / "blobs" / f"{file.etag}{ADOPTING}", self._ways)

    def holds(self, file: RemoteFile) -> bool:
        """By name and size: the name of a blob is its digest, and `holdfast check` re-hashes."""
        return any(
            has_size(path, file.size_bytes) for path in (self.repo.blob_path(file.etag), self._copy_of(file))
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
        if not blob.exists() and has_size(pointer, file.size_bytes):
            return
        link_blob(blob, pointer, symlinks=self._symlinks)
        if pointer.is_symlink() and os.utime in os.supports_follow_symlinks:
            with contextlib.suppress(OSError):
                os.utime(pointer, follow_symlinks=False)


def brought(copy: Path, staged: Path, ways: Sequence[str]) -> Path | None:
    """Never under the name of an unfinished file: those are written to, and this may be a hard link."""
    staged.parent.mkdir(parents=True, exist_ok=True)
    return staged if bring(copy, staged, ways) is not None else None


def moving(staged: Path) -> Callable[[Path], None]:
    """A `move_to` for a plain staged file."""

    def move_to(final: Path) -> None:
        staged.replace(final)

    return move_to


def has_size(path: Path, size_bytes: int) -> bool:
    """Whether a plain file of that size is there."""
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size_bytes
