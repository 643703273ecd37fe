"""Take out of the cache what references name: repos, commits, variants, single files.

| reference              | what goes                                                                              |
|------------------------|----------------------------------------------------------------------------------------|
| `org/name`             | the whole repo, with what is unfinished                                                 |
| `org/name@v1`          | the ref alone if another ref names that commit too, otherwise the commit with its refs  |
| `org/name@<commit>`    | the commit with all refs to it                                                          |
| with `:variant` or `//path` | those files, of all commits or of the named one; a commit without files goes too   |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast.cache.cutting import Cut, make_cut, plan_cut, removing_from, whole_cut
from holdfast.cache.inventory import Inventory, Pointer, take_inventory
from holdfast.cache.layout import RepoCache
from holdfast.cache.matching import at_home, matching_paths, matching_snapshots, names_revision
from holdfast.reference import Reference


def plan_removal(references: Sequence[Reference], cache_dir: Path) -> list[Cut]:
    """A cut for each repo. Changes nothing; raises NotFound, InUse, UnsafePath before anything is removed."""
    by_repo: dict[str, list[Reference]] = {}
    for reference in (at_home(one, cache_dir) for one in references):
        by_repo.setdefault(reference.repo_id, []).append(reference)
    return [_cut_of(RepoCache(cache_dir, repo_id), named) for repo_id, named in by_repo.items()]


def remove(cuts: Sequence[Cut]) -> list[Cut]:
    """Afterwards they are gone. Raises InUse for a repo that somebody has begun to pull since."""
    for cut in cuts:
        with removing_from(cut.repo, dry_run=False):
            make_cut(cut)
    return list(cuts)


def _cut_of(repo: RepoCache, references: Sequence[Reference]) -> Cut:
    with removing_from(repo, dry_run=True):
        inventory = take_inventory(repo)
    refs: set[str] = set()
    pointers: dict[Path, Pointer] = {}
    for reference in references:
        if _means_all(reference) and repo.folder.is_dir():
            continue
        if _is_one_of_several_refs(reference, inventory, refs):
            refs.add(reference.revision)
        else:
            pointers.update({pointer.path: pointer for pointer in _pointers(reference, inventory)})
    if any(map(_means_all, references)):
        return whole_cut(inventory)
    return plan_cut(inventory, refs=refs, pointers=pointers.values())


def _means_all(reference: Reference) -> bool:
    return not names_revision(reference) and reference.variant is None and reference.path is None


def _is_one_of_several_refs(reference: Reference, inventory: Inventory, gone: set[str]) -> bool:
    """Whether the commit goes on under another ref."""
    commit = inventory.refs.get(reference.revision)
    if commit is None or reference.variant or reference.path or not names_revision(reference):
        return False
    refs = {ref for ref, named in inventory.refs.items() if named == commit}
    return bool(refs - gone - {reference.revision})


def _pointers(reference: Reference, inventory: Inventory) -> list[Pointer]:
    repo = inventory.repo
    named = matching_paths(reference, matching_snapshots(reference, repo.cache_dir))
    paths = {repo.snapshot_path(commit) / path for commit, path in named}
    return [pointer for pointer in inventory.pointers if pointer.path in paths]
