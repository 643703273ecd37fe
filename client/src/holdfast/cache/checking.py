"""Re-hash what the cache holds, and say what is not what its name says.

The name of a blob is its digest: 64 hex digits are a sha256, 40 are git's name for content. Of a copy (disks without
links) only the kept listing knows the digest. Works offline, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path

from holdfast.cache.installed import Snapshot
from holdfast.cache.layout import RepoCache
from holdfast.fetching.hashing import Expected, hash_file
from holdfast.fetching.progress import Progress
from holdfast.fetching.workers import worker_threads
from holdfast.lists.lockfile import LockedModel
from holdfast.sources.remote import RemoteFile

HASH_THREADS = 4


@dataclass(frozen=True)
class Finding:
    """One set of bytes, and every place that shows them. `problem` is None if they are right."""

    repo_id: str
    commit: str
    path: str
    local_path: Path
    size_bytes: int
    problem: str | None  # missing, unreadable, size, sha256, git oid, unknown digest
    expected: str | None = None
    actual: str | None = None
    locked: LockedModel | None = None  # the model of a lock that wants it

    @property
    def is_bad(self) -> bool:
        """An unknown digest is nobody's fault: it is told, not counted."""
        return self.problem not in (None, "unknown digest")


@dataclass(frozen=True)
class _Task:
    snapshot: Snapshot
    file: RemoteFile
    local_path: Path

    @property
    def commit(self) -> tuple[RepoCache, str]:
        return self.snapshot.repo, self.snapshot.commit

    @property
    def name(self) -> str:
        """Unlike the path, no other task's."""
        return f"{self.snapshot.repo.repo_id}@{self.snapshot.commit[:7]} {self.file.path}"


def tasks_of(snapshots: Iterable[Snapshot]) -> list[_Task]:
    """Every file once, however many commits show it."""
    tasks: dict[Path, _Task] = {}
    for snapshot in snapshots:
        root = snapshot.repo.snapshot_path(snapshot.commit)
        for file in snapshot.files:
            real = (root / file.path).resolve()
            tasks.setdefault(real, _Task(snapshot, file, real))
    return list(tasks.values())


def check_files(tasks: Sequence[_Task], progress: Progress, *, quick: bool) -> list[Finding]:
    """One finding per task, in order. `quick` compares sizes with the kept listing and reads no bytes."""
    if quick:
        commits = dict.fromkeys(task.commit for task in tasks)
        listed = {commit: _listed_sizes(*commit) for commit in commits}
        return [_check_size(task, listed[task.commit].get(task.file.path)) for task in tasks]
    with worker_threads(HASH_THREADS, "check") as pool:
        return list(pool.map(bind(_check_digest, progress), tasks))


def broken_links(snapshots: Iterable[Snapshot]) -> list[Finding]:
    """Every path of a snapshot whose bytes are gone."""
    return [
        Finding(
            snapshot.repo.repo_id,
            snapshot.commit,
            path,
            snapshot.repo.snapshot_path(snapshot.commit) / path,
            0,
            "missing",
        )
        for snapshot in snapshots
        for path in snapshot.broken
    ]


def _finding(
    task: _Task, problem: str | None, expected: str | None = None, actual: str | None = None
) -> Finding:
    snapshot, file = task.snapshot, task.file
    return Finding(
        snapshot.repo.repo_id,
        snapshot.commit,
        file.path,
        task.local_path,
        file.size_bytes,
        problem,
        expected,
        actual,
    )


def _listed_sizes(repo: RepoCache, commit: str) -> dict[str, int]:
    return {file.path: file.size_bytes for file in repo.read_tree(commit) or ()}


def _check_size(task: _Task, listed: int | None) -> Finding:
    if listed is None:
        return _finding(task, "unknown digest")
    if listed != task.file.size_bytes:
        return _finding(task, "size", f"{listed} bytes", f"{task.file.size_bytes} bytes")
    return _finding(task, None)


def _check_digest(progress: Progress, task: _Task) -> Finding:
    file = task.file
    if not file.etag:
        return _finding(task, "unknown digest")
    progress.started(task.name, file.size_bytes, 0)
    try:
        advance = bind(progress.advanced, task.name)
        got = hash_file(task.local_path, with_git=file.sha256 is None, advance=advance)
    except OSError as error:
        return _finding(task, "unreadable", actual=error.strerror or str(error))
    finally:
        progress.finished(task.name)
    difference = Expected(got.size_bytes, file.sha256, file.git_oid).difference(got)
    return _finding(task, *difference) if difference else _finding(task, None)
