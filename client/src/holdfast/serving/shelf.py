"""What of the cache may be read, by names that came from strangers.

A name never becomes a path unless the cache itself shows it: a repo must have its folder, a revision its ref or
snapshot, a file its place in the snapshot. The rest is `Missing`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from holdfast.cache.installed import Snapshot, files_of_snapshot, snapshots_of
from holdfast.cache.layout import RepoCache, repo_id_of
from holdfast.paths import is_inside, why_unsafe
from holdfast.reference import is_repo_segment, is_revision
from holdfast.sources.remote import COMMIT, SHA256, RemoteFile

SHORTEST_COMMIT = 7


class Missing(Exception):
    """Not here. `code` is the Hub's name for what is missing, `commit` is known if only the file is."""

    def __init__(self, code: str, message: str, commit: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.commit = commit


@dataclass(frozen=True)
class Held:
    """A file that is here: what its bytes must be, and where they lie."""

    file: RemoteFile
    local: Path


class Shelf:
    """The cache, or the named repos of it. Reads the disk at every question, so what is pulled meanwhile is there."""

    def __init__(self, cache_dir: Path, only: Iterable[str] = ()) -> None:
        self.cache_dir = cache_dir
        self._only = frozenset(only)

    def repo_ids(self) -> list[str]:
        """Every repo that has a folder and may be shown, by name."""
        try:
            folders = [entry.name for entry in os.scandir(self.cache_dir) if entry.is_dir()]
        except OSError:
            return []
        found = (repo_id_of(folder) for folder in folders)
        return sorted(repo_id for repo_id in found if repo_id is not None and self._shows(repo_id))

    def newest(self, repo_id: str) -> Snapshot | None:
        """What `main` names if that is here, else the snapshot that changed last."""
        repo = self._repo(repo_id)
        snapshots = snapshots_of(repo)
        main = repo.read_ref("main")
        return next((one for one in snapshots if one.commit == main), snapshots[0] if snapshots else None)

    def resolve(self, repo_id: str, revision: str) -> tuple[RepoCache, str]:
        """The repo and the commit that a branch, tag, or (shortened) commit means here."""
        repo = self._repo(repo_id)
        name = revision
        for prefix in ("refs/heads/", "refs/tags/"):
            name = name[len(prefix) :] if name.startswith(prefix) else name
        commit = repo.read_ref(name) if is_revision(name) else None
        if commit is None or not repo.snapshot_path(commit).is_dir():
            commit = self._commit_like(repo, name)
        if commit is None:
            raise Missing(
                "RevisionNotFound", f"this cache holds {repo_id}, but not its revision {revision!r:.80}"
            )
        return repo, commit

    def listing(self, repo: RepoCache, commit: str) -> list[RemoteFile]:
        """Every file of the commit where that was kept, whether it is here or not; else those that are here."""
        kept = repo.read_tree(commit)
        return files_of_snapshot(repo, commit) if kept is None else kept

    def held(self, repo: RepoCache, commit: str, path: str) -> Held:
        """One file of the snapshot. Raises Missing if the cache lacks it, or does not know what it must be."""
        root = repo.snapshot_path(commit)
        local = root / path
        if why_unsafe(path) is None and is_inside(local, root) and local.is_file():
            file = _described(repo, commit, path, local)
            if file is not None:
                return Held(file, local)
        raise Missing(
            "EntryNotFound",
            f"this cache does not hold {path!r:.200} of {repo.repo_id}@{commit[:12]}; where it is served, "
            f"holdfast pull fetches it",
            commit,
        )

    def held_files(self, repo: RepoCache, commit: str) -> list[Held]:
        """Every file of the snapshot that can be served, by path."""
        root = repo.snapshot_path(commit)
        return [Held(file, root / file.path) for file in files_of_snapshot(repo, commit) if file.etag]

    def _repo(self, repo_id: str) -> RepoCache:
        segments = repo_id.split("/")
        repo = RepoCache(self.cache_dir, repo_id)
        if len(segments) > 2 or not all(map(is_repo_segment, segments)) or not self._shows(repo_id):
            raise Missing("RepoNotFound", f"no repo {repo_id!r:.200} is served here")
        if not (repo.folder / "snapshots").is_dir():
            raise Missing("RepoNotFound", f"this cache does not hold {repo_id}")
        return repo

    def _shows(self, repo_id: str) -> bool:
        return not self._only or repo_id in self._only

    def _commit_like(self, repo: RepoCache, start: str) -> str | None:
        if len(start) < SHORTEST_COMMIT or not is_revision(start):
            return None
        names = [path.name for path in (repo.folder / "snapshots").iterdir()]
        found = [name for name in names if name.startswith(start) and COMMIT.match(name)]
        return found[0] if len(found) == 1 else None


def _described(repo: RepoCache, commit: str, path: str, local: Path) -> RemoteFile | None:
    """What the bytes must be: by the name of the blob that the link shows, of a copy by the kept listing."""
    size = local.stat().st_size
    etag = Path(os.readlink(local)).name if local.is_symlink() else ""  # noqa: PTH115 - Path.readlink is slow
    if not etag:
        listed = {file.path: file for file in repo.read_tree(commit) or ()}
        etag = listed[path].etag if path in listed else ""
    if SHA256.match(etag):
        return RemoteFile(path, size, None, etag)
    return RemoteFile(path, size, etag, None) if COMMIT.match(etag) else None


def oid_of(file: RemoteFile) -> str:
    """Git's name for the file as a repo holds it: of a large file that is the name of its pointer."""
    if file.git_oid is not None or file.sha256 is None:
        return file.git_oid or ""
    pointer = pointer_of(file)
    return hashlib.sha1(b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False).hexdigest()


def pointer_of(file: RemoteFile) -> bytes:
    """The text that git holds in a large file's place."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {file.size_bytes}\n"
    return text.encode("ascii")
