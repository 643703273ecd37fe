"""Compare what the cache holds with what locks name: every locked file must be there, with the locked size and sha256.

Unlike a check of the cache against itself this also finds what is missing altogether. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial as bind
from pathlib import Path

from holdfast.cache.checking import HASH_THREADS, Finding
from holdfast.cache.layout import RepoCache
from holdfast.fetching.hashing import Expected, hash_file
from holdfast.fetching.progress import Progress
from holdfast.fetching.workers import worker_threads
from holdfast.lists.lockfile import LockedFile, LockedModel

Place = tuple[LockedModel, LockedFile, Path]


def places_of(models: Sequence[LockedModel], cache_dir: Path) -> list[Place]:
    """Every locked file once, and where it must be."""
    places: dict[tuple[Path, str], Place] = {}
    for model in models:
        root = RepoCache(cache_dir, model.repo_id).snapshot_path(model.commit)
        for file in model.files:
            places.setdefault((root / file.path, file.sha256), (model, file, root / file.path))
    return list(places.values())


def check_places(places: Sequence[Place], progress: Progress, *, quick: bool) -> list[Finding]:
    """One finding per place, in order. `quick` compares sizes and reads no bytes."""
    with worker_threads(HASH_THREADS, "check") as pool:
        return list(pool.map(bind(_check, progress, quick=quick), places))


def _check(progress: Progress, place: Place, *, quick: bool) -> Finding:
    model, file, path = place
    good = Finding(model.repo_id, model.commit, file.path, path, file.size_bytes, None, locked=model)
    name = f"{model.name} {file.path}"
    progress.started(name, file.size_bytes, 0)
    try:
        size = path.stat().st_size
        if quick or size != file.size_bytes:
            return good if size == file.size_bytes else _bad(good, "size", file.size_bytes, size)
        got = hash_file(path, with_git=file.git_oid is not None, advance=bind(progress.advanced, name))
    except FileNotFoundError:
        return replace(good, problem="missing", size_bytes=0)
    except OSError as error:
        return replace(good, problem="unreadable", actual=error.strerror or str(error))
    finally:
        progress.finished(name)
    difference = Expected(file.size_bytes, file.sha256, file.git_oid).difference(got)
    if difference is None:
        return good
    what, expected, actual = difference
    return replace(good, problem=what, expected=expected, actual=actual)


def _bad(good: Finding, what: str, expected: int, actual: int) -> Finding:
    return replace(good, problem=what, expected=f"{expected} bytes", actual=f"{actual} bytes")
