"""What of the cache a reference or a lock names. Reads the disk only, and takes any revision that is here: a ref, a
commit, or the beginning of one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from holdfast.cache.installed import Snapshot, snapshots_of
from holdfast.cache.layout import RepoCache
from holdfast.choosing.variants import FORMATS, files_of_format, gguf_groups
from holdfast.errors import NotFound
from holdfast.lists.lockfile import LockedModel, read_lock
from holdfast.reference import Reference
from holdfast.text import printable

SHORTEST_COMMIT = 7  # digits, as at the index


def matching_snapshots(reference: Reference, cache_dir: Path) -> list[Snapshot]:
    """The commits a reference names: every one of the repo, or with @revision that one. Raises NotFound for none."""
    repo = RepoCache(cache_dir, reference.repo_id)
    found = snapshots_of(repo)
    if names_revision(reference):
        commit = repo.read_ref(reference.revision)
        found = [one for one in found if one.commit == commit or _begins(one.commit, reference.revision)]
    if not found:
        raise _not_cached(reference)
    return found


def _begins(commit: str, revision: str) -> bool:
    return len(revision) >= SHORTEST_COMMIT and commit.startswith(revision)


def names_revision(reference: Reference) -> bool:
    """Whether a revision was given; `main` is not meant here where nobody said it."""
    return "@" in reference.text


def matching_paths(reference: Reference, snapshots: list[Snapshot]) -> set[tuple[str, str]]:
    """(commit, path) of every file that the reference names: all, or those of its :variant or //path.

    Raises NotFound for none.
    """
    named = {(one.commit, path) for one in snapshots for path in _paths(reference, one)}
    if not named:
        raise _not_cached(reference)
    return named


def at_home(reference: Reference, cache_dir: Path) -> Reference:
    """The reference at `<repo>-GGUF`, if its variant is here and the repo itself has none such: `pull org/name:Q8_0`
    puts it there, and who says the same words again means that.
    """
    derived = replace(reference, repo_id=f"{reference.repo_id}-GGUF")
    if reference.variant is None or names_revision(reference) or _has_variant(reference, cache_dir):
        return reference
    return derived if _has_variant(derived, cache_dir) else reference


def _has_variant(reference: Reference, cache_dir: Path) -> bool:
    snapshots = snapshots_of(RepoCache(cache_dir, reference.repo_id))
    return any(_paths_of_variant(one, reference.variant or "") for one in snapshots)


def lock_at(path: Path) -> tuple[LockedModel, ...]:
    """The models of a lock that must be there."""
    models = read_lock(path)
    if models is None:
        raise NotFound(f"no such lock: {printable(path)}", hint="holdfast lock writes one.", path=str(path))
    return models


def _paths(reference: Reference, snapshot: Snapshot) -> list[str]:
    """A broken link has a path too, but no variant."""
    paths = [file.path for file in snapshot.files]
    if reference.path is not None:
        every = [*paths, *snapshot.broken]
        return [path for path in every if path == reference.path or path.startswith(f"{reference.path}/")]
    if reference.variant is None:
        return [*paths, *snapshot.broken]
    return _paths_of_variant(snapshot, reference.variant)


def _paths_of_variant(snapshot: Snapshot, variant: str) -> list[str]:
    """Of a GGUF model its shards; of a format the weights alone, because other formats need the rest too."""
    groups = [group for group in gguf_groups(snapshot.files) if group.answers_to(variant)]
    wanted = variant.casefold()
    if groups or wanted not in FORMATS:
        return [file.path for group in groups for file in group.files]
    other = next(name for name in FORMATS if name != wanted)
    rest = {file.path for file in files_of_format(snapshot.files, other)}
    return [file.path for file in files_of_format(snapshot.files, wanted) if file.path not in rest]


def _not_cached(reference: Reference) -> NotFound:
    return NotFound(
        f"not in the cache: {printable(reference.text)}",
        hint="holdfast list shows what is here; holdfast pull fetches.",
        repo_id=reference.repo_id,
    )
