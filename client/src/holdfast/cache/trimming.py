"""Take away what a lock does not name: from the cache, or from a plain folder that `sync` has made.

In a plain folder that held anything else nothing is ever taken away: `sync` leaves a mark in a folder that it makes,
or finds empty, and without that mark there is no pruning.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.cache.cutting import Cut, plan_cut
from holdfast.cache.inventory import Inventory, Pointer, inventories
from holdfast.errors import FileInTheWay
from holdfast.fetching.disk import disk_errors
from holdfast.fetching.folder import FOLDER_STAGING
from holdfast.lists.lockfile import LockedModel
from holdfast.text import printable

MARK = ".holdfast-sync"
_MARK_TEXT = (
    "holdfast sync --dest keeps this folder; with --prune it removes whatever the lock does not name.\n"
)


@dataclass(frozen=True)
class Extra:
    """One file in the folder that no lock names."""

    path: Path
    size_bytes: int


def plan_cache(models: Iterable[LockedModel], cache_dir: Path) -> list[Cut]:
    """What of the cache goes: every file of every commit that is not locked. Changes nothing."""
    kept = {(model.repo_id, model.commit, file.path) for model in models for file in model.files}
    cuts = []
    for inventory in inventories(cache_dir):
        extra = [pointer for pointer in inventory.pointers if _name(inventory, pointer) not in kept]
        cut = plan_cut(inventory, pointers=extra, blobs=inventory.unreferenced)
        cuts += [cut] if cut else []
    return cuts


def _name(inventory: Inventory, pointer: Pointer) -> tuple[str, str, str]:
    repo = inventory.repo
    path = pointer.path.relative_to(repo.snapshot_path(pointer.commit)).as_posix()
    return repo.repo_id, pointer.commit, path


def mark_folder(dest: Path) -> bool:
    """Whether the folder is ours. One that does not exist, or is empty, becomes ours."""
    if (dest / MARK).is_file():
        return True
    if dest.is_dir() and any(dest.iterdir()):
        return False
    with disk_errors(dest):
        dest.mkdir(parents=True, exist_ok=True)
        (dest / MARK).write_text(_MARK_TEXT, encoding="utf-8")
    return True


def is_ours(dest: Path) -> bool:
    """Whether files there may give way."""
    return (dest / MARK).is_file()


def plan_folder(models: Iterable[LockedModel], dest: Path) -> list[Extra]:
    """The files below the folder that are not locked. Links are files, whatever they lead to. Changes nothing.

    Raises FileInTheWay for a folder that `sync` has not made.
    """
    if not dest.exists():
        return []
    if not is_ours(dest):
        raise FileInTheWay(
            f"{printable(dest)} was not made by holdfast sync: nothing in it is removed",
            hint="Sync into a new folder, or leave --prune out.",
            path=str(dest),
        )
    kept = {Path(model.repo_id, file.path) for model in models for file in model.files} | {Path(MARK)}
    return [extra for extra in _files(dest) if extra.path.relative_to(dest) not in kept]


def _files(dest: Path) -> list[Extra]:
    found = []
    for folder, folders, names in os.walk(dest):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in links and name != FOLDER_STAGING)
        found += [Extra(here / name, (here / name).lstat().st_size) for name in sorted([*names, *links])]
    return found


def trim_folder(dest: Path, extras: Sequence[Extra]) -> None:
    """Afterwards they are gone, and so are folders that are empty then."""
    with disk_errors(dest):
        for extra in extras:
            with contextlib.suppress(FileNotFoundError):
                extra.path.unlink()
            for folder in extra.path.parents:
                if folder == dest or dest not in folder.parents:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break
