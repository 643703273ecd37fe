"""What the cache can do without, and how it is brought below a size: first what nothing shows, then what was used least
recently.

The unit of the latter is what is loaded together: one GGUF model with all its shards, or everything else of a commit.
Bytes count once, however many names they have in the cache.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from holdfast.cache.cutting import Cut, freed_bytes, make_cut, plan_cut, removing_from
from holdfast.cache.inventory import Entry, Inventory, Pointer, inventories, size_on_disk, take_inventory
from holdfast.cache.matching import at_home, matching_paths, matching_snapshots, names_revision
from holdfast.cache.removal_report import what_goes
from holdfast.choosing.selection import Selection
from holdfast.choosing.variants import gguf_groups
from holdfast.errors import HoldfastError, InUse, UnsafePath
from holdfast.lists.lockfile import LockedModel
from holdfast.output import Output
from holdfast.reference import Reference
from holdfast.sources.remote import RemoteFile
from holdfast.text import format_bytes, printable

UNFINISHED_DAYS = 7.0
DAY_SECONDS = 86400.0


@dataclass
class Keep:
    """What is never removed for room: whole repos, and single files as (repo, commit, path)."""

    repos: set[str] = field(default_factory=set)
    files: set[tuple[str, str, str]] = field(default_factory=set)

    def holds(self, inventory: Inventory, pointer: Pointer) -> bool:
        """Whether the file is to stay."""
        repo = inventory.repo
        path = pointer.path.relative_to(repo.snapshot_path(pointer.commit)).as_posix()
        return repo.repo_id in self.repos or (repo.repo_id, pointer.commit, path) in self.files

    def add(self, reference: Reference, cache_dir: Path) -> None:
        """From now on what the reference names stays. Raises NotFound if the cache has nothing of it."""
        reference = at_home(reference, cache_dir)
        snapshots = matching_snapshots(reference, cache_dir)
        if reference.path is None and reference.variant is None and not names_revision(reference):
            self.repos.add(reference.repo_id)
        self.files |= {
            (reference.repo_id, commit, path) for commit, path in matching_paths(reference, snapshots)
        }

    def add_lock(self, models: Iterable[LockedModel]) -> None:
        """From now on what a lock names stays."""
        self.files |= {(model.repo_id, model.commit, file.path) for model in models for file in model.files}


@dataclass(frozen=True)
class Pruning:
    """What to remove. Whatever is younger than `before` (seconds since 1970) may still be wanted by a pull."""

    before: float
    keep: Keep
    detached: bool = False  # commits that no ref names
    max_bytes: int | None = None


def plan_prune(cache_dir: Path, pruning: Pruning) -> tuple[list[Cut], int]:
    """The cuts, in order, and the size of the cache without them. Changes nothing."""
    cuts, rest = [], []
    for inventory in inventories(cache_dir):
        cut = _useless(inventory, pruning)
        cuts += [cut] if cut else []
        rest.append(_without(inventory, cut))
    evictions, size_bytes = _evictions(rest, pruning)
    return cuts + evictions, size_bytes


def prune(cuts: Iterable[Cut], out: Output) -> list[Cut]:
    """Makes the cuts that can still be made, and returns them: what was used since they were planned stays, and so does
    a repo that another process pulls.
    """
    done = []
    for cut in cuts:
        try:
            with removing_from(cut.repo, dry_run=False):
                if _is_unchanged(cut, take_inventory(cut.repo)):
                    make_cut(cut)
                    done.append(cut)
                else:
                    out.note(f"left alone: {cut.repo.repo_id} was used in this moment")
        except (InUse, UnsafePath) as error:
            out.note(f"left alone: {printable(error.message)}")
    return done


def make_room(cache_dir: Path, max_bytes: int, selection: Selection, out: Output) -> None:
    """Afterwards the cache is no larger, or nothing else may go: what was just pulled stays, and what is in use."""
    keep = Keep(files={(selection.repo_id, selection.commit, file.path) for file in selection.files})
    pruning = Pruning(time.time() - UNFINISHED_DAYS * DAY_SECONDS, keep, max_bytes=max_bytes)
    cuts, size_bytes = plan_prune(cache_dir, pruning)
    try:
        done = prune(cuts, out)
    except HoldfastError as error:  # what was pulled is here and right, whatever else cannot be removed
        out.note(f"  no room was made: {printable(error.message)}")
        return
    for cut in done:
        out.note(f"  made room: {cut.repo.repo_id}: {what_goes(cut)}, {format_bytes(freed_bytes([cut])[0])}")
    if size_bytes > max_bytes or len(done) < len(cuts):
        out.note(f"  the cache is larger than {format_bytes(max_bytes)}: nothing more may be removed")


def _useless(inventory: Inventory, pruning: Pruning) -> Cut:
    """What did not become whole, what no snapshot shows, links to nothing, and if asked commits that no ref names."""
    named = set(inventory.refs.values())
    detached = [
        pointer
        for pointer in inventory.pointers
        if pruning.detached and pointer.commit not in named and not pruning.keep.holds(inventory, pointer)
    ]
    return plan_cut(
        inventory,
        pointers=[*inventory.broken, *detached],
        blobs=_older(inventory.unreferenced, pruning.before),
        unfinished=_older(inventory.unfinished, pruning.before),
    )


def _older(entries: Iterable[Entry], before: float) -> list[Entry]:
    return [entry for entry in entries if entry.modified_at <= before]


def _without(inventory: Inventory, cut: Cut) -> Inventory:
    """The repo as it will be."""
    gone = {pointer.path for pointer in cut.pointers}
    blobs = {blob.path for blob in cut.blobs}
    return replace(
        inventory,
        blobs={name: blob for name, blob in inventory.blobs.items() if blob.path not in blobs},
        unfinished=tuple(entry for entry in inventory.unfinished if entry not in cut.unfinished),
        pointers=tuple(pointer for pointer in inventory.pointers if pointer.path not in gone),
        refs={ref: commit for ref, commit in inventory.refs.items() if ref not in cut.refs},
    )


def _evictions(rest: list[Inventory], pruning: Pruning) -> tuple[list[Cut], int]:
    """Least recently used first, a commit that no ref names before one of the same age, until what is left fits."""
    size_bytes = size_on_disk([entry for inventory in rest for entry in inventory.entries])
    if pruning.max_bytes is None or size_bytes <= pruning.max_bytes:
        return [], size_bytes
    names = Counter(entry.inode for inventory in rest for entry in inventory.entries)
    now = {inventory.repo.repo_id: inventory for inventory in rest}
    cuts = []
    for repo_id, pointers in _by_last_use(rest, pruning.keep):
        if size_bytes <= pruning.max_bytes:
            break
        cut = plan_cut(now[repo_id], pointers=pointers)
        dying = Counter({entry.path: entry.inode for entry in cut.entries}.values())
        sizes = {entry.inode: entry.size_bytes for entry in cut.entries}
        gain = sum(sizes[inode] for inode, n_names in dying.items() if n_names >= names[inode])
        if gain > 0:  # bytes that another commit shows are not won by removing this one
            cuts.append(cut)
            names -= dying
            now[repo_id] = _without(now[repo_id], cut)
            size_bytes -= gain
    return cuts, size_bytes


def _by_last_use(rest: list[Inventory], keep: Keep) -> Iterator[tuple[str, list[Pointer]]]:
    units = []
    for inventory in rest:
        named = set(inventory.refs.values())
        for commit in inventory.commits:
            for pointers in _units(inventory, commit):
                if not any(keep.holds(inventory, pointer) for pointer in pointers):
                    used = inventory.last_use(pointers)
                    units.append((used, commit in named, inventory.repo.repo_id, commit, pointers))
    for _used, _named, repo_id, _commit, pointers in sorted(units, key=lambda unit: unit[:4]):
        yield repo_id, pointers


def _units(inventory: Inventory, commit: str) -> list[list[Pointer]]:
    """The files of a commit that are loaded together."""
    root = inventory.repo.snapshot_path(commit)
    by_path = {
        pointer.path.relative_to(root).as_posix(): pointer
        for pointer in inventory.pointers
        if pointer.commit == commit
    }
    groups = gguf_groups([RemoteFile(path, 0, None, None) for path in by_path])
    units = [[by_path.pop(file.path) for file in group.files] for group in groups]
    return [*units, list(by_path.values())] if by_path else units


def _is_unchanged(cut: Cut, inventory: Inventory) -> bool:
    """Whether nobody has pulled any of it since."""
    known = {pointer.path: pointer.linked_at for pointer in inventory.pointers}
    times = {entry.path: entry.modified_at for entry in inventory.unfinished}
    return all(known.get(pointer.path, 0.0) <= pointer.linked_at for pointer in cut.pointers) and all(
        times.get(entry.path, 0.0) <= entry.modified_at for entry in cut.unfinished
    )
