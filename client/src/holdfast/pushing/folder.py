"""Which files of a folder go, and under which names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.choosing.selection import Patterns
from holdfast.errors import NotFound, UsageError
from holdfast.paths import check_collisions, check_path
from holdfast.sources.remote import RemoteFile
from holdfast.text import printable

LEFT_OUT = frozenset({".git", ".DS_Store", "Thumbs.db", ".ipynb_checkpoints", "__pycache__"})
CACHE_FOLDER = ".cache/huggingface"  # what huggingface_hub writes into a folder that it filled


@dataclass(frozen=True)
class LocalFile:
    """A file that is to be pushed: its name in the repo, and where it lies."""

    path: str
    local: Path
    size_bytes: int


def files_below(folder: Path, prefix: str, patterns: Patterns) -> list[LocalFile]:
    """Every file of the folder (or the one file) by path. Links to files are followed, links to folders are not.

    Raises NotFound if nothing is left, UnsafePath for a name that others could not write to their disks.
    """
    if not folder.exists():
        raise UsageError(f"there is no {printable(folder)}", hint="Name a folder, or a file.")
    found = _walk(folder) if folder.is_dir() else iter([(folder.name, folder)])
    files = [LocalFile(f"{prefix}{path}", local, local.stat().st_size) for path, local in found]
    listed = [RemoteFile(file.path[len(prefix) :], file.size_bytes, None, None) for file in files]
    wanted = {f"{prefix}{file.path}" for file in patterns.keep(listed)}
    chosen = sorted((file for file in files if file.path in wanted), key=lambda file: file.path)
    if not chosen:
        raise NotFound(f"nothing to push in {printable(folder)}", hint="--include and --exclude choose.")
    for file in chosen:
        check_path(file.path, listed_by=printable(folder))
    check_collisions((file.path for file in chosen), listed_by=printable(folder))
    return chosen


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for root, folders, names in os.walk(folder):
        below = os.path.relpath(root, folder).replace(os.sep, "/")
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT and not _is_cache(below, name))
        for name in sorted(names):
            local = Path(root) / name
            if name not in LEFT_OUT and local.is_file():
                yield (name if below == "." else f"{below}/{name}"), local


def _is_cache(below: str, name: str) -> bool:
    return f"{below}/{name}" == CACHE_FOLDER
