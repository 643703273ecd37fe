"""An exported bundle as a source: the repos, commits and refs of its manifest, and the blobs beside it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial as bind

from holdfast.bundles.manifest import EARLIER, HERE, Bundle, BundleFile, BundleRepo
from holdfast.errors import NotFound, RepoNotFound
from holdfast.network.transport import Answer
from holdfast.network.urls import show_url
from holdfast.sources.archive import blob_key
from holdfast.sources.remote import RemoteFile, VariantAnswer
from holdfast.sources.source import OpenRange
from holdfast.sources.stores import Store
from holdfast.text import printable


class BundleSource:
    """One bundle. Its manifest has been read and checked."""

    def __init__(self, store: Store, bundle: Bundle) -> None:
        self.index_url = store.url
        self.bundle = bundle
        self._store = store
        self._by_path = {
            (repo.repo_id, repo.commit): {file.path: file for file in repo.files} for repo in bundle.repos
        }
        carried = [file for repo in bundle.repos for file in repo.carried(HERE)]
        self._by_digest = {
            digest: file for file in carried for digest in (file.sha256, file.as_remote().etag)
        }

    def resolve(self, repo_id: str, revision: str) -> str:
        return self._repo(repo_id, revision).commit

    def _repo(self, repo_id: str, revision: str) -> BundleRepo:
        commits = [repo for repo in self.bundle.repos if repo.repo_id == repo_id]
        if not commits:
            raise RepoNotFound(
                f"no such repo: {repo_id} is not in the bundle {show_url(self.index_url)}",
                hint="holdfast bundle verify shows what is in it.",
                repo_id=repo_id,
            )
        for repo in commits:
            if revision == repo.commit or revision in repo.refs:
                return repo
        known = ", ".join(name for repo in commits for name in (*repo.refs, repo.commit[:12]))
        raise NotFound(
            f"no such revision: {repo_id}@{printable(revision)} is not in the bundle {show_url(self.index_url)}",
            hint=f"It holds {known}.",
            repo_id=repo_id,
            revision=revision,
        )

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        files = [file.as_remote() for file in self._repo(repo_id, commit).files]
        return sorted(files, key=lambda file: file.path)

    def resolve_variant(self, repo_id: str, revision: str, variant: str) -> VariantAnswer | None:
        return None

    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> AbstractContextManager[Answer]:
        file = self.file(repo_id, commit, path)
        if file.state != HERE:
            raise self._left_out(file, f"{repo_id}@{commit[:12]}")
        return self._store.open(blob_key(str(file.sha256)), start, end)

    def file(self, repo_id: str, commit: str, path: str) -> BundleFile:
        """What the manifest says of a listed file."""
        return self._by_path[repo_id, commit][path]

    def find(self, repo_id: str | None, commit: str, file: RemoteFile) -> OpenRange | None:
        """By its digest, whatever repo the bytes are carried for."""
        one = self._by_digest.get(file.etag)
        return None if one is None else bind(self._store.open, blob_key(str(one.sha256)))

    def _left_out(self, file: BundleFile, name: str) -> NotFound:
        if file.state == EARLIER:
            why = f"it lies in an earlier bundle, {' or '.join(one[:12] for one in self.bundle.since)}"
            hint = "Import that one first: holdfast bundle import DIR"
        else:
            why, hint = "it was not exported", "Export it too, or leave it out: --exclude PATTERN"
        return NotFound(
            f"{show_url(self.index_url)} does not carry {printable(file.path)} of {name}: {why}",
            hint=hint,
            path=file.path,
            sha256=file.sha256,
            since=list(self.bundle.since),
        )
