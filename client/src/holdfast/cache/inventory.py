"""What each repo's folder in the cache really holds, down to the bytes: what links show, what nothing shows, what never
became whole. Reading only, and nothing behind a symlinked folder is read.

Last use is the latest of a blob's atime and mtime, and the mtime of the link that shows it, which every pull of it
sets. Most disks keep atime to the day (`relatime`); where one keeps none (`noatime`), a pull is the only use we know.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from holdfast.cache.installed import walk
from holdfast.cache.layout import RepoCache, repo_id_of

UNFINISHED_SUFFIXES = (".incomplete", ".parts", ".adopting", ".tmp")
FOLDERS = ("blobs", "snapshots", "refs", "trees")


@dataclass(frozen=True)
class Entry:
    """One name on the disk. A hard link elsewhere shows in `n_links`; `size_bytes` is what the disk keeps for it."""

    path: Path
    size_bytes: int
    used_at: float  # seconds since 1970
    modified_at: float
    inode: tuple[int, int]
    n_links: int

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Pointer:
    """A path of a snapshot: a link to the blob `shows`, or the bytes themselves (`shows` is None, `copy` is not)."""

    path: Path
    commit: str
    shows: str | None
    copy: Entry | None
    linked_at: float = 0.0  # seconds since 1970: made, or wanted again by a pull
    is_broken: bool = False  # it shows bytes that are gone


@dataclass(frozen=True)
class Inventory:
    """One repo's folder at one moment."""

    repo: RepoCache
    blobs: Mapping[str, Entry]
    unfinished: tuple[Entry, ...]
    pointers: tuple[Pointer, ...]
    commits: tuple[str, ...]
    refs: Mapping[str, str]  # ref -> commit

    @cached_property
    def shown(self) -> frozenset[str]:
        """The blobs that some snapshot shows, by link or as a hard link."""
        inodes = {pointer.copy.inode for pointer in self.pointers if pointer.copy is not None}
        by_inode = (name for name, blob in self.blobs.items() if blob.inode in inodes)
        return frozenset(pointer.shows for pointer in self.pointers if pointer.shows) | frozenset(by_inode)

    @property
    def unreferenced(self) -> list[Entry]:
        """Whole blobs that no snapshot shows."""
        return [blob for name, blob in sorted(self.blobs.items()) if name not in self.shown]

    @property
    def broken(self) -> list[Pointer]:
        """Links to bytes that are gone."""
        return [pointer for pointer in self.pointers if pointer.is_broken]

    @property
    def entries(self) -> list[Entry]:
        """Everything that takes room."""
        copies = [pointer.copy for pointer in self.pointers if pointer.copy is not None]
        return [*self.blobs.values(), *self.unfinished, *copies]

    def last_use(self, pointers: Iterable[Pointer]) -> float:
        """When any of these was last used; 0 if there are none."""
        return max(map(self._used_at, pointers), default=0.0)

    def _used_at(self, pointer: Pointer) -> float:
        entry = pointer.copy or self.blobs.get(pointer.shows or "")
        return max(pointer.linked_at, entry.used_at if entry else 0.0)


def take_inventory(repo: RepoCache) -> Inventory:
    """What the folder holds now. A folder that is a symlink counts as empty: see `linked_folder`."""
    if linked_folder(repo) is not None:
        return Inventory(repo, {}, (), (), (), {})
    blobs, unfinished = {}, []
    for entry in filter(None, map(_entry, walk(str(repo.folder / "blobs")))):
        if entry.name.endswith(UNFINISHED_SUFFIXES):
            unfinished.append(entry)
        else:
            blobs[entry.name] = entry
    commits = sorted(child.name for child in _children(repo.folder / "snapshots"))
    pointers = [pointer for commit in commits for pointer in _pointers(repo, commit)]
    return Inventory(repo, blobs, tuple(unfinished), tuple(pointers), tuple(commits), _refs(repo))


def inventories(cache_dir: Path) -> Iterator[Inventory]:
    """Of every model repo, sorted by name; of one that is a symlink too, which is empty then."""
    for folder in sorted(_children(cache_dir, follow_links=True)):
        repo_id = repo_id_of(folder.name)
        if repo_id is not None:
            yield take_inventory(RepoCache(cache_dir, repo_id))


def linked_folder(repo: RepoCache) -> Path | None:
    """The first of the repo's own folders that is a symlink: what lies behind it is not ours to remove."""
    folders = (repo.folder, *(repo.folder / name for name in FOLDERS))
    return next((folder for folder in folders if folder.is_symlink()), None)


def size_on_disk(entries: list[Entry]) -> int:
    """What the disk keeps for them: a file with several names counts once."""
    return sum({entry.inode: entry.size_bytes for entry in entries}.values())


def _children(folder: Path, *, follow_links: bool = False) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=follow_links)]
    except OSError:
        return []


def _entry(name: str) -> Entry | None:
    try:
        status = os.lstat(name)
    except OSError:
        return None  # gone since
    size, blocks = status.st_size, getattr(status, "st_blocks", None)
    if name.endswith(".incomplete") and blocks is not None:
        size = min(size, blocks * 512)  # ours has holes
    used = max(status.st_atime, status.st_mtime)
    inode = (status.st_dev, status.st_ino)
    return Entry(Path(name), size, used, status.st_mtime, inode, status.st_nlink)


def _pointers(repo: RepoCache, commit: str) -> Iterator[Pointer]:
    """A link whose target has the name of a blob shows it, wherever it leads: doubt keeps bytes."""
    for name in walk(str(repo.snapshot_path(commit))):
        path = Path(name)
        try:
            target = os.path.basename(os.readlink(name))  # noqa: PTH115,PTH119 - Path.readlink costs twice the time
            yield Pointer(path, commit, target, None, os.lstat(name).st_mtime, not path.exists())
        except OSError:
            entry = _entry(name)
            if entry is not None:
                yield Pointer(path, commit, None, entry, entry.modified_at)


def _refs(repo: RepoCache) -> dict[str, str]:
    refs: dict[str, str] = {}
    for name in walk(str(repo.folder / "refs")):
        path = Path(name)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            refs[path.relative_to(repo.folder / "refs").as_posix()] = path.read_text(encoding="utf-8").strip()
    return refs
