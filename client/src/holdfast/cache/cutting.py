"""Take commits, files or whole repos out of the cache. Blobs that another commit shows stay.

What is removed is planned first (`plan_cut` changes nothing and knows every byte), then done (`make_cut`): refs first,
so that nothing names what is no longer whole, then links, then bytes. A process killed in between leaves bytes that
nothing shows, which `holdfast cache prune` finds. Nothing behind a symlinked folder is touched.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.cache.installed import walk
from holdfast.cache.inventory import Entry, Inventory, Pointer, linked_folder, take_inventory
from holdfast.cache.layout import RepoCache
from holdfast.cache.locks import alone, is_held
from holdfast.errors import InUse, UnsafePath
from holdfast.fetching.disk import disk_errors
from holdfast.text import printable

LOCKED_AT_ONCE = 100  # each lock is an open file


@dataclass(frozen=True)
class Cut:
    """What is to go of one repo."""

    repo: RepoCache
    refs: tuple[str, ...]
    commits: tuple[str, ...]  # wholly
    pointers: tuple[Pointer, ...]
    blobs: tuple[Entry, ...]
    unfinished: tuple[Entry, ...]
    is_whole: bool = False

    def __bool__(self) -> bool:
        return self.is_whole or any((self.refs, self.commits, self.pointers, self.blobs, self.unfinished))

    @property
    def entries(self) -> list[Entry]:
        """The bytes, under each of their names that goes."""
        copies = [pointer.copy for pointer in self.pointers if pointer.copy is not None]
        return [*self.blobs, *self.unfinished, *copies]


def freed_bytes(cuts: Sequence[Cut]) -> tuple[int, int]:
    """What the disk gets back if all cuts are made, and what it does not, because other names of the bytes stay."""
    names: dict[tuple[int, int], set[Path]] = {}
    entries = {entry.inode: entry for cut in cuts for entry in cut.entries}
    for cut in cuts:
        for entry in cut.entries:
            names.setdefault(entry.inode, set()).add(entry.path)
    freed = [entry.size_bytes for inode, entry in entries.items() if len(names[inode]) >= entry.n_links]
    return sum(freed), sum(entry.size_bytes for entry in entries.values()) - sum(freed)


def plan_cut(
    inventory: Inventory,
    *,
    refs: Collection[str] = (),
    pointers: Iterable[Pointer] = (),
    blobs: Iterable[Entry] = (),
    unfinished: Iterable[Entry] = (),
) -> Cut:
    """The named refs, links, blobs and unfinished files, and what follows: a commit of which no file is left goes with
    its refs, and so do blobs that only these links showed.
    """
    doomed = {pointer.path: pointer for pointer in pointers}
    kept = [pointer for pointer in inventory.pointers if pointer.path not in doomed]
    emptied = {pointer.commit for pointer in doomed.values()} - {pointer.commit for pointer in kept}
    still_shown = replace(inventory, pointers=tuple(kept)).shown
    orphans = [
        blob for name, blob in inventory.blobs.items() if name in inventory.shown and name not in still_shown
    ]
    return Cut(
        inventory.repo,
        tuple(
            sorted({ref for ref, commit in inventory.refs.items() if commit in emptied or ref in set(refs)})
        ),
        tuple(sorted(emptied)),
        tuple(doomed.values()),
        tuple(dict.fromkeys([*orphans, *blobs])),
        tuple(unfinished),
    )


def whole_cut(inventory: Inventory) -> Cut:
    """The whole repo, with all that is unfinished."""
    return Cut(
        inventory.repo,
        tuple(sorted(inventory.refs)),
        inventory.commits,
        inventory.pointers,
        tuple(inventory.blobs.values()),
        inventory.unfinished,
        is_whole=True,
    )


@contextlib.contextmanager
def removing_from(repo: RepoCache, *, dry_run: bool) -> Iterator[None]:
    """Nobody of ours pulls into the repo until the end, and huggingface_hub was not either when this began.

    Raises InUse otherwise, and UnsafePath where a folder of the repo is a symlink. A dry run leaves no lock file.
    """
    link = linked_folder(repo)
    if link is not None:
        raise UnsafePath(
            f"{printable(link)} is a symlink: nothing behind it is removed",
            hint="Remove the link yourself, and what it leads to if nobody needs that.",
            path=str(link),
        )
    with ExitStack() as stack:
        if dry_run:
            is_free = not is_held(repo.use_lock_path)
        else:
            with disk_errors(repo.cache_dir):
                is_free = stack.enter_context(alone(repo.use_lock_path))
        if not is_free or any(map(is_held, repo.use_lock_path.parent.glob("*.lock"))):
            raise InUse(
                f"{repo.repo_id} is being pulled by another process: nothing of it was removed",
                hint="Wait for that pull, or stop it, and run this again.",
                repo_id=repo.repo_id,
            )
        yield


def make_cut(cut: Cut) -> None:
    """Afterwards it is gone. To be called within `removing_from`. Safe to run twice."""
    folder = cut.repo.folder
    with disk_errors(folder):
        for ref in cut.refs:
            _unlink(folder / "refs" / ref, up_to=folder / "refs")
        for pointer in cut.pointers:
            _unlink(pointer.path, up_to=folder / "snapshots")
        for commit in cut.commits:
            _unlink(folder / "trees" / f"{commit}.json", up_to=folder)
            _clear(folder / ".no_exist" / commit)
        for entry in sorted(cut.unfinished, key=lambda entry: not entry.name.endswith(".parts")):
            _unlink(entry.path, up_to=folder)
        for start in range(0, len(cut.blobs), LOCKED_AT_ONCE):
            _remove_blobs(cut.repo, cut.blobs[start : start + LOCKED_AT_ONCE])
        if cut.is_whole or not any(True for name in ("blobs", "snapshots") for _ in walk(str(folder / name))):
            _clear(folder)
            with contextlib.suppress(OSError):  # Windows keeps a file that is open, as our own lock is
                _clear(cut.repo.use_lock_path.parent)


def _remove_blobs(repo: RepoCache, blobs: Iterable[Entry]) -> None:
    """Under the lock of each, and only if still nothing shows it: huggingface_hub links under that lock."""
    with ExitStack() as stack:
        ours = [blob for blob in blobs if stack.enter_context(alone(repo.lock_path(blob.name)))]
        shown = take_inventory(repo).shown
        for blob in ours:
            if blob.name not in shown:
                _unlink(blob.path, up_to=repo.folder)


def _unlink(path: Path, *, up_to: Path) -> None:
    """The name goes, and the folders above it that are empty then, up to but not including the last."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    for folder in path.parents:
        if folder == up_to or up_to not in folder.parents:
            break
        try:
            folder.rmdir()
        except OSError:
            break


def _clear(folder: Path) -> None:
    """The folder and everything in it; of links the link."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for name in list(walk(str(folder))):
        _unlink(Path(name), up_to=folder)
    shutil.rmtree(folder, ignore_errors=True)  # what is left are empty folders
