"""The blob store of a Holdfast server, read without the server: a bucket, or the folder it keeps on a disk.

    commits/<repo_id>/<commit>.json       the manifest of a commit: paths, sizes, sha256, git oids
    blobs/sha256/ab/cd/<sha256>           the bytes

A store keeps no branches. A branch or tag means the newest manifest that was mirrored under that name; failing that,
`main` means the one commit that no other has as its parent. What is not clear is an error that lists the commits.
"""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from functools import partial as bind
from typing import Any

from holdfast.errors import BadAnswer, HoldfastError, NotFound, RepoNotFound
from holdfast.network.transport import Answer
from holdfast.network.urls import show_url
from holdfast.paths import check_path
from holdfast.reference import DEFAULT_REVISION
from holdfast.sources.hub import MAX_FILE_BYTES
from holdfast.sources.remote import COMMIT, SHA256, RemoteFile, VariantAnswer
from holdfast.sources.source import OpenRange
from holdfast.sources.stores import Store
from holdfast.text import printable

MANIFEST_FORMAT = "holdfast-commit-1"
MAX_COMMITS = 1000
_ABBREVIATED = re.compile(r"^[0-9a-f]{7,40}$")


def blob_key(sha256: str) -> str:
    """`blobs/sha256/ab/cd/<sha256>`"""
    return f"blobs/sha256/{sha256[:2]}/{sha256[2:4]}/{sha256}"


class Archive:
    """A store in the layout of a Holdfast server. Reads each manifest once."""

    def __init__(self, store: Store) -> None:
        self.index_url = store.url
        self._store = store
        self._manifests: dict[tuple[str, str], dict[str, Any]] = {}

    def resolve(self, repo_id: str, revision: str) -> str:
        if COMMIT.match(revision):
            self._manifest(repo_id, revision)
            return revision
        commits = self._commits(repo_id)
        if _ABBREVIATED.match(revision):
            fitting = [commit for commit in commits if commit.startswith(revision)]
        else:
            fitting = self._named(repo_id, commits, revision)
        if len(fitting) == 1:
            return fitting[0]
        raise self._unclear(repo_id, revision, fitting or commits)

    def _commits(self, repo_id: str) -> list[str]:
        """Newest first. Raises RepoNotFound if there is none."""
        prefix = f"commits/{repo_id}/"
        listed = sorted(self._store.listing(prefix, MAX_COMMITS), key=lambda one: one.written, reverse=True)
        names = [one.key[len(prefix) :].rpartition(".json") for one in listed]
        commits = [name for name, _json, rest in names if COMMIT.match(name) and not rest]
        if not commits:
            raise RepoNotFound(
                f"no such repo: {repo_id}: {show_url(self.index_url)} has no commit of it",
                hint="Check the spelling, and the prefix in the address.",
                repo_id=repo_id,
            )
        return commits

    def _named(self, repo_id: str, commits: list[str], revision: str) -> list[str]:
        """What the revision names: one commit if that is clear, else all that it might be."""
        manifests = {commit: self._manifest(repo_id, commit) for commit in commits}
        mirrored = [commit for commit in commits if _upstream_revision(manifests[commit]) == revision]
        if mirrored:
            return [max(mirrored, key=lambda commit: str(manifests[commit].get("recorded_at")))]
        parents = {parent for one in manifests.values() for parent in _parents(one)}
        return [commit for commit in commits if commit not in parents] if revision == DEFAULT_REVISION else []

    def _unclear(self, repo_id: str, revision: str, commits: list[str]) -> HoldfastError:
        shown = ", ".join(commit[:12] for commit in commits[:8]) + (" …" if len(commits) > 8 else "")
        return NotFound(
            f"{show_url(self.index_url)} does not say which commit {repo_id}@{printable(revision)} is",
            hint=f"A bucket keeps no branches. Name a commit of these: {shown}",
            repo_id=repo_id,
            revision=revision,
            commits=commits,
        )

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        manifest = self._manifest(repo_id, commit)
        files = [
            RemoteFile(path, one["size_bytes"], one["git_oid"] or None, _lfs_sha256(one))
            for path, one in _files(manifest).items()
        ]
        return sorted(files, key=lambda file: file.path)

    def resolve_variant(self, repo_id: str, revision: str, variant: str) -> VariantAnswer | None:
        return None

    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> AbstractContextManager[Answer]:
        sha256 = _files(self._manifest(repo_id, commit))[path]["sha256"]
        return self._store.open(blob_key(sha256), start, end)

    def find(self, repo_id: str | None, commit: str, file: RemoteFile) -> OpenRange | None:
        """By sha256 where it is known, whatever repo the bytes came with; else by commit and path."""
        sha256 = file.sha256
        try:
            if sha256 is None and repo_id is not None:
                one = _files(self._manifest(repo_id, commit)).get(file.path)
                sha256 = one["sha256"] if one and one["git_oid"] == file.git_oid else None
            if sha256 is None:
                return None
            with self._store.open(blob_key(sha256), 0, 1):
                return bind(self._store.open, blob_key(sha256))
        except NotFound:
            return None

    def _manifest(self, repo_id: str, commit: str) -> dict[str, Any]:
        if (repo_id, commit) not in self._manifests:
            self._manifests[repo_id, commit] = self._read_manifest(repo_id, commit)
        return self._manifests[repo_id, commit]

    def _read_manifest(self, repo_id: str, commit: str) -> dict[str, Any]:
        key = f"commits/{repo_id}/{commit}.json"
        try:
            text = self._store.read(key)
        except NotFound as error:
            self._commits(repo_id)
            raise NotFound(
                f"no such commit: {repo_id}@{commit[:12]}: {show_url(self.index_url)} has no {key}",
                hint="Name another commit, or leave @revision out.",
                repo_id=repo_id,
                revision=commit,
            ) from error
        try:
            return _checked(json.loads(text), repo_id, commit)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadAnswer(
                f"{show_url(self.index_url)}/{key} is not the manifest of this commit",
                hint="The store is damaged: run `audit` on its server.",
                key=key,
            ) from error


def _checked(manifest: Any, repo_id: str, commit: str) -> dict[str, Any]:
    """The manifest, or ValueError and its kin. Names that are unsafe raise UnsafePath."""
    about = manifest["format"], manifest["repo_id"], manifest["commit_hash"]
    if about != (MANIFEST_FORMAT, repo_id, commit):
        raise ValueError(about)
    by_path: dict[str, Any] = {}
    for one in manifest["files"]:
        path = check_path(str(one["path"]), listed_by=f"{repo_id}@{commit[:12]}")
        size, sha256, git_oid = one["size_bytes"], one["sha256"], one["git_oid"]
        if path in by_path or type(size) is not int or not 0 <= size <= MAX_FILE_BYTES:
            raise ValueError(path)
        if not SHA256.match(sha256) or not (git_oid == "" or COMMIT.match(git_oid)):
            raise ValueError(path)
        by_path[path] = one
    return {**manifest, "by_path": by_path}


def _files(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = manifest["by_path"]
    return found


def _lfs_sha256(one: dict[str, Any]) -> str | None:
    """The sha256 is what the cache calls an LFS file by, and what there is where git's oid is not known."""
    return str(one["sha256"]) if one.get("is_lfs") is True or not one["git_oid"] else None


def _upstream_revision(manifest: dict[str, Any]) -> Any:
    upstream = manifest.get("upstream")
    return upstream.get("revision") if isinstance(upstream, dict) else None


def _parents(manifest: dict[str, Any]) -> list[str]:
    parents = manifest.get("parents")
    return [str(parent) for parent in parents] if isinstance(parents, list) else []
