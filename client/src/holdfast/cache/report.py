"""What `holdfast cache info` tells: bytes by repo, what is shared or unfinished, locks, the stores of other tools."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.cache.holdings import HUGGING_FACE, Store, blob_folders
from holdfast.cache.installed import walk
from holdfast.cache.inventory import Inventory, linked_folder, size_on_disk
from holdfast.cache.locks import is_held
from holdfast.output import table
from holdfast.text import count, format_bytes, printable


@dataclass(frozen=True)
class RepoUse:
    """One repo in numbers. Shared are the bytes that several commits show; linked those with names outside the repo."""

    inventory: Inventory
    size_bytes: int
    shared_bytes: int
    linked_bytes: int
    unfinished_bytes: int
    unreferenced_bytes: int
    n_broken: int

    @property
    def used_at(self) -> float:
        return self.inventory.last_use(self.inventory.pointers)


def use_of(inventory: Inventory) -> RepoUse:
    """The numbers of one repo."""
    commits_of: dict[str, set[str]] = {}
    for pointer in inventory.pointers:
        if pointer.shows:
            commits_of.setdefault(pointer.shows, set()).add(pointer.commit)
    blobs = inventory.blobs.values()
    own_names = {entry.inode: 0 for entry in inventory.entries}
    for entry in inventory.entries:
        own_names[entry.inode] += 1
    return RepoUse(
        inventory,
        size_on_disk(inventory.entries),
        size_on_disk([blob for blob in blobs if len(commits_of.get(blob.name, ())) > 1]),
        size_on_disk([entry for entry in inventory.entries if entry.n_links > own_names[entry.inode]]),
        size_on_disk(list(inventory.unfinished)),
        size_on_disk(inventory.unreferenced),
        len(inventory.broken),
    )


def repo_lines(uses: Sequence[RepoUse]) -> list[str]:
    """The table: a line for each repo."""
    rows = [
        (
            use.inventory.repo.repo_id,
            format_bytes(use.size_bytes),
            str(len(use.inventory.commits)),
            _if_any(use.shared_bytes),
            _if_any(use.unfinished_bytes + use.unreferenced_bytes),
            time.strftime("%Y-%m-%d", time.localtime(use.used_at)) if use.used_at else "",
        )
        for use in uses
    ]
    heads = ("REPO", "SIZE", "COMMITS", "SHARED", "UNFINISHED", "LAST USED")
    return table(heads, rows, right=(1, 2, 3, 4)) if rows else []


def _if_any(size_bytes: int) -> str:
    return format_bytes(size_bytes) if size_bytes else ""


def remark_lines(uses: Sequence[RepoUse], locks: tuple[int, int]) -> list[str]:
    """What is worth a sentence, and what to do about it."""
    lines = [
        f"{printable(link)} is a symlink: what is behind it is not counted and never removed"
        for link in (linked_folder(use.inventory.repo) for use in uses)
        if link is not None
    ]
    unfinished = sum(use.unfinished_bytes + use.unreferenced_bytes for use in uses)
    if unfinished:
        lines.append(
            f"{format_bytes(unfinished)} of pulls that did not end: pull again to go on, or holdfast cache prune"
        )
    broken = sum(use.n_broken for use in uses)
    if broken:
        lines.append(f"{count(broken, 'broken link')}: holdfast check --repair, or holdfast cache prune")
    n_locks, n_held = locks
    if n_held:
        lines.append(f"{n_held} of {count(n_locks, 'lock')} held: other processes are pulling")
    return lines


def count_locks(cache_dir: Path) -> tuple[int, int]:
    """Lock files, and how many of them a process holds at this moment."""
    paths = [Path(name) for name in walk(str(cache_dir / ".locks"))]
    return len(paths), sum(map(is_held, paths))


def store_size(store: Store) -> tuple[int, int]:
    """Files and bytes of another tool's store, each file once."""
    folders = blob_folders(store.folder) if store.kind == HUGGING_FACE else [store.folder]
    sizes = {}
    for folder in folders:
        for name in walk(str(folder)):
            try:
                status = os.lstat(name)
            except OSError:
                continue
            sizes[status.st_dev, status.st_ino] = status.st_size
    return len(sizes), sum(sizes.values())


def use_json(use: RepoUse) -> dict[str, Any]:
    """The object in the list `repos`."""
    inventory = use.inventory
    return {
        "repo_id": inventory.repo.repo_id,
        "size_bytes": use.size_bytes,
        "shared_bytes": use.shared_bytes,
        "linked_bytes": use.linked_bytes,
        "unfinished_bytes": use.unfinished_bytes,
        "unreferenced_bytes": use.unreferenced_bytes,
        "broken_links": use.n_broken,
        "commits": list(inventory.commits),
        "refs": dict(inventory.refs),
        "used_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(use.used_at)) if use.used_at else None,
        "path": str(inventory.repo.folder),
    }
