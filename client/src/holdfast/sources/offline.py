"""The cache as an index: what was pulled answers for itself, and nothing is asked of the network."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cache.installed import files_of_snapshot
from holdfast.cache.layout import RepoCache
from holdfast.errors import NotFound, Offline
from holdfast.sources.remote import RemoteFile, VariantAnswer
from holdfast.text import printable

if TYPE_CHECKING:
    from holdfast.network.transport import Answer


class CachedIndex:
    """Knows the refs, listings and snapshots of the cache."""

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir

    def resolve(self, repo_id: str, revision: str) -> str:
        """The commit that the revision named when it was last pulled."""
        repo = RepoCache(self._cache_dir, repo_id)
        commit = repo.read_ref(revision)
        if commit is None or not repo.snapshot_path(commit).is_dir():
            raise NotFound(
                f"not in the cache: {repo_id}@{printable(revision)}",
                hint="Run without --offline to pull it; holdfast list shows what is here.",
                repo_id=repo_id,
                revision=revision,
            )
        return commit

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        """The whole listing if an earlier pull kept it, else what the snapshot holds."""
        repo = RepoCache(self._cache_dir, repo_id)
        listing = repo.read_tree(commit)
        return files_of_snapshot(repo, commit) if listing is None else listing

    def resolve_variant(self, repo_id: str, revision: str, variant: str) -> VariantAnswer | None:
        """The cache does not know what was made of what."""
        return None


def missing_offline(repo_id: str, commit: str, paths: list[str]) -> Offline:
    """The cache holds the commit, but not all that was asked for."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return Offline(
        f"offline, and the cache lacks {printable(paths[0])}{more} of {repo_id}@{commit[:12]}",
        hint="Run without --offline to fetch what is missing.",
        repo_id=repo_id,
        commit=commit,
        missing=paths,
    )


class NoNetwork:
    """Where bytes come from offline: nowhere. What this machine claimed to hold has turned out to be something else."""

    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> AbstractContextManager[Answer]:
        """Raises Offline."""
        raise missing_offline(repo_id, commit, [path])

    def doubt(self, path: str) -> bool:
        """There is nobody else either."""
        return False
