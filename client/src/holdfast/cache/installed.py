"""What the cache holds, whoever put it there: this client, huggingface_hub, transformers or llama.cpp.

Reading only. A folder that is not a model repo is passed over, never an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.cache.layout import RepoCache, repo_id_of
from holdfast.choosing.variants import formats_of, gguf_groups
from holdfast.sources.remote import COMMIT, SHA256, RemoteFile


@dataclass(frozen=True)
class Snapshot:
    """One cached commit. `files` are those that are here, `broken` the paths whose bytes are gone."""

    repo: RepoCache
    commit: str
    refs: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    broken: tuple[str, ...]
    modified_at: float  # seconds since 1970

    @property
    def size_bytes(self) -> int:
        """On disk: equal bytes count once."""
        return sum({file.etag or file.path: file.size_bytes for file in self.files}.values())

    @property
    def variants(self) -> list[str]:
        """What of it can be loaded: quantization types and formats."""
        return list(
            dict.fromkeys([group.variant for group in gguf_groups(self.files)] + formats_of(self.files))
        )


def installed(cache_dir: Path) -> Iterator[Snapshot]:
    """Every cached commit of every model repo, sorted by repo and then newest first."""
    for folder in sorted(_folders(cache_dir)):
        repo_id = repo_id_of(folder)
        if repo_id is not None:
            yield from snapshots_of(RepoCache(cache_dir, repo_id))


def snapshots_of(repo: RepoCache) -> list[Snapshot]:
    """The cached commits of one repo, newest first."""
    refs = _refs_by_commit(repo.folder / "refs")
    commits = [name for name in _folders(repo.folder / "snapshots") if COMMIT.match(name)]
    found = [_read_snapshot(repo, commit, tuple(sorted(refs.get(commit, ())))) for commit in commits]
    return sorted(found, key=lambda snapshot: (-snapshot.modified_at, snapshot.commit))


def files_of_snapshot(repo: RepoCache, commit: str) -> list[RemoteFile]:
    """The files of a cached commit as its links tell."""
    return list(_read_snapshot(repo, commit, ()).files)


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return []


def _refs_by_commit(refs: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in walk(str(refs)):
        try:
            commit = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            continue
        found.setdefault(commit, []).append(os.path.relpath(path, refs).replace(os.sep, "/"))
    return found


def walk(folder: str) -> Iterator[str]:
    """Every file and link below the folder. Links to folders are not followed."""
    try:
        with os.scandir(folder) as entries:
            below = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in below:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)
        else:
            yield entry.path


def _read_snapshot(repo: RepoCache, commit: str, refs: tuple[str, ...]) -> Snapshot:
    """Of a link the target's name is the digest; only copies need the kept listing, which costs more to read."""
    root = str(repo.snapshot_path(commit))
    files: list[RemoteFile] = []
    copies: list[RemoteFile] = []
    broken: list[str] = []
    modified = Path(root).stat().st_mtime
    for name in walk(root):
        path = name[len(root) + 1 :].replace(os.sep, "/")
        try:
            status = os.stat(name)  # noqa: PTH116 - ten thousand times; a Path costs twice the time
        except OSError:
            broken.append(path)
            continue
        modified = max(modified, status.st_mtime)
        etag = _target_name(name)
        (copies if etag is None else files).append(_file_named(etag or "", path, status.st_size))
    if copies:
        etags = {file.path: file.etag for file in repo.read_tree(commit) or ()}
        files += [_file_named(etags.get(copy.path, ""), copy.path, copy.size_bytes) for copy in copies]
    in_order = sorted(files, key=lambda file: file.path)
    return Snapshot(repo, commit, refs, tuple(in_order), tuple(broken), modified)


def _target_name(name: str) -> str | None:
    try:
        return os.path.basename(os.readlink(name))  # noqa: PTH115,PTH119 - a Path costs twice the time
    except OSError:
        return None


def _file_named(etag: str, path: str, size_bytes: int) -> RemoteFile:
    sha256 = etag if SHA256.match(etag) else None
    git_oid = etag if COMMIT.match(etag) else None
    return RemoteFile(path, size_bytes, git_oid, sha256)
