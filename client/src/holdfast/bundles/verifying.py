"""`bundle verify`: every blob of a bundle against its manifest. Changes nothing, asks no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path
from typing import Any

from holdfast.bundles.importing import open_bundle
from holdfast.bundles.manifest import EARLIER, HERE, Bundle, BundleFile, BundleRepo
from holdfast.fetching.hashing import Expected, hash_file
from holdfast.fetching.progress import Progress, open_progress
from holdfast.fetching.workers import worker_threads
from holdfast.output import Output
from holdfast.settings import Settings
from holdfast.sources.archive import blob_key
from holdfast.text import count, format_bytes

HASH_THREADS = 4


@dataclass(frozen=True)
class Problem:
    """One blob that is not what the manifest says, and the first file that is made of it."""

    repo_id: str
    commit: str
    path: str
    sha256: str
    problem: str  # missing, unreadable, size, sha256, git oid
    expected: str | None = None
    actual: str | None = None


@dataclass(frozen=True)
class Verified:
    """What a bundle holds and what is wrong with it."""

    folder: Path
    bundle: Bundle
    signed_by: str | None
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        """An object of the list `verified`."""
        here = self.bundle.blobs(HERE)
        return {
            "bundle": str(self.folder),
            "id": self.bundle.id,
            "signed_by": self.signed_by,
            "blobs": len(here),
            "size_bytes": sum(here.values()),
            "since": list(self.bundle.since),
            "left_out": sorted(self.bundle.blobs(EARLIER)),
            "repos": [_repo_as_json(repo) for repo in self.bundle.repos],
            "problems": [problem.__dict__ for problem in self.problems],
        }


def _repo_as_json(repo: BundleRepo) -> dict[str, Any]:
    return {
        "repo_id": repo.repo_id,
        "commit": repo.commit,
        "refs": list(repo.refs),
        "license": repo.license,
        "files": len(repo.files),
        "carried": len(repo.carried(HERE, EARLIER)),
        "size_bytes": sum(file.size_bytes for file in repo.carried(HERE, EARLIER)),
    }


def verify(folder: Path, settings: Settings, out: Output, *, allowed_signers: Path | None = None) -> Verified:
    """Reads everything once. Raises for a manifest or a signature that is wrong; bad blobs are in the answer."""
    source, signed_by = open_bundle(folder, allowed_signers)
    bundle = source.bundle
    first = {file.sha256: (repo, file) for repo, file in reversed(list(_files(bundle)))}
    total = sum(file.size_bytes for _repo, file in first.values())
    mode = "off" if out.verbosity < 0 and settings.progress != "json" else settings.progress
    bar = open_progress(mode, total, len(first), color=settings.color, tell_finished=False)
    with bar as progress, worker_threads(HASH_THREADS, "verify") as pool:
        found = list(pool.map(bind(_check, folder, progress), first.values()))
    problems = sorted(filter(None, found), key=lambda one: (one.repo_id, one.commit, one.path))
    return Verified(folder, bundle, signed_by, tuple(problems))


def _files(bundle: Bundle) -> Iterator[tuple[BundleRepo, BundleFile]]:
    return ((repo, file) for repo in bundle.repos for file in repo.carried(HERE))


def _check(folder: Path, progress: Progress, one: tuple[BundleRepo, BundleFile]) -> Problem | None:
    repo, file = one
    problem = bind(Problem, repo.repo_id, repo.commit, file.path, str(file.sha256))
    name = f"{repo.repo_id}@{repo.commit[:7]} {file.path}"
    progress.started(name, file.size_bytes, 0)
    try:
        path = folder / blob_key(str(file.sha256))
        if not path.is_file():
            return problem("missing")
        got = hash_file(path, with_git=not file.is_lfs, advance=bind(progress.advanced, name))
    except OSError as error:
        return problem("unreadable", actual=error.strerror or str(error))
    finally:
        progress.finished(name)
    git_oid = None if file.is_lfs else file.git_oid
    difference = Expected(file.size_bytes, file.sha256, git_oid).difference(got)
    return problem(*difference) if difference else None


def verify_line(verified: Verified) -> str:
    """One closing line with counts and bytes."""
    here = verified.bundle.blobs(HERE)
    verdict = count(len(verified.problems), "problem") if verified.problems else "all good"
    left_out = len(verified.bundle.blobs(EARLIER))
    more = f", {count(left_out, 'blob')} in earlier bundles" if left_out else ""
    return f"Verified {count(len(here), 'blob')}, {format_bytes(sum(here.values()))}: {verdict}{more}."
