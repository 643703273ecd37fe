"""A plain folder as the destination of a pull: files under their own names, as a person would lay them out."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Callable

from holdfast.cache.holdings import Holdings
from holdfast.cache.layout import RepoCache
from holdfast.cache.linking import COPY, REFLINK
from holdfast.cache.locks import shared
from holdfast.errors import FileInTheWay
from holdfast.fetching.destination import ADOPTING, brought, has_size, moving
from holdfast.fetching.disk import disk_errors
from holdfast.fetching.hashing import hash_file
from holdfast.paths import is_inside, leads_outside
from holdfast.sources.remote import RemoteFile
from holdfast.text import printable

FOLDER_STAGING = ".holdfast"


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
        return brought(copy, self.root / FOLDER_STAGING / f"{_short_name(file)}{ADOPTING}", self._ways)

    def holds(self, file: RemoteFile) -> bool:
        """By digest, because a name says nothing here. Raises FileInTheWay for other bytes, unless forced."""
        path = self.path_of(file)
        if not os.path.lexists(path):
            return False
        if has_size(path, file.size_bytes) and _has_digest(path, file):
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
        return blob if has_size(blob, file.size_bytes) else None

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


def _has_digest(path: Path, file: RemoteFile) -> bool:
    got = hash_file(path, with_git=file.sha256 is None)
    return got.sha256 == file.sha256 if file.sha256 is not None else got.git_oid == file.git_oid


def _short_name(file: RemoteFile) -> str:
    return f"{hashlib.sha256(file.path.encode()).hexdigest()[:12]}-{file.etag[:16]}"
