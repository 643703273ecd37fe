"""Re-hash what the cache holds, and say what is not what its name says.

The name of a blob is its digest: 64 hex digits are a sha256, 40 are git's name for content. Of a copy (disks without
links) only the kept listing knows the digest. Works offline, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path

from holdfast.hashing import Expected, hash_file
from holdfast.installed import Snapshot
from holdfast.progress import Progress
from holdfast.remote import RemoteFile
from holdfast.workers import worker_threads

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

    @property
    def is_bad(self) -> bool:
        """An unknown digest is nobody's fault: it is told, not counted."""
        return self.problem not in (None, "unknown digest")


@dataclass(frozen=True)
class _Task:
    snapshot: Snapshot
    file: RemoteFile
    local_path: Path


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
        return [_check_size(task) for task in tasks]
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


def _check_size(task: _Task) -> Finding:
    listing = task.snapshot.repo.read_tree(task.snapshot.commit) or []
    listed = next((file.size_bytes for file in listing if file.path == task.file.path), None)
    if listed is None:
        return _finding(task, "unknown digest")
    if listed != task.file.size_bytes:
        return _finding(task, "size", f"{listed} bytes", f"{task.file.size_bytes} bytes")
    return _finding(task, None)


def _check_digest(progress: Progress, task: _Task) -> Finding:
    file = task.file
    progress.started(file.path, file.size_bytes, 0)
    if not file.etag:
        progress.advanced(file.path, file.size_bytes)
        return _finding(task, "unknown digest")
    try:
        got = hash_file(
            task.local_path, with_git=file.sha256 is None, advance=bind(progress.advanced, file.path)
        )
    except OSError as error:
        return _finding(task, "unreadable", actual=error.strerror or str(error))
    difference = Expected(got.size_bytes, file.sha256, file.git_oid).difference(got)
    if difference is None:
        progress.finished(file.path)
    return _finding(task, *difference) if difference else _finding(task, None)
