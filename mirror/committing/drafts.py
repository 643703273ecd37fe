"""A commit in the bucket that is not yet in the database, and how it gets there."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from mirror.blobs.store import BlobStore, StoreError, manifest_key
from mirror.committing.changes import Entry
from mirror.committing.errors import BytesGone
from mirror.holding import QUERY_SIZE, BytesLeft, hold
from mirror.manifest import ManifestFile, manifest_bytes, write_manifest
from mirror.store import blob_store
from registry.git import Signature, commit_object, commit_object_oid, tree_oid
from registry.models import Blob, Commit, File, Repo


@dataclass(frozen=True, slots=True)
class Letter:
    """What a commit says of itself: who made it, and why."""

    author: str
    email: str
    title: str
    description: str = ""

    @classmethod
    def of(cls, user: User, title: str, description: str = "") -> "Letter":
        name = user.get_username()
        return cls(name, user.email or f"{name}@localhost", title, description)

    @property
    def message(self) -> str:
        return f"{self.title}\n\n{self.description}".strip()


@dataclass(frozen=True)
class Draft:
    """A commit that is in the bucket but not yet in the database."""

    commit_hash: str
    git_object: bytes
    parents: tuple[str, ...]
    title: str
    message: str
    author: Signature
    entries: tuple[Entry, ...]
    manifest_sha256: str


def put_draft(
    store: BlobStore,
    repo: Repo,
    entries: Sequence[Entry],
    letter: Letter,
    *,
    parents: tuple[str, ...],
    recorded_by: str,
    license_id: str = "",
    lineage: Iterable[dict[str, Any]] = (),
) -> Draft:
    """The commit with exactly these files: its manifest is in the bucket. Idempotent within a second."""
    now = timezone.now().replace(microsecond=0)
    author = Signature(_plain(letter.author), _plain(letter.email), now)
    tree = tree_oid({entry.path: entry.git_oid for entry in entries})
    body = commit_object(tree, parents=parents, author=author, message=letter.message)
    commit_hash = commit_object_oid(body)
    manifest = manifest_bytes(
        repo_id=repo.repo_id, repo_type=repo.repo_type, commit_hash=commit_hash, parents=parents, title=letter.title,
        message=letter.message, author=letter.author, committed_at=now, recorded_at=now, recorded_by=recorded_by,
        files=[ManifestFile(e.path, e.size_bytes, e.sha256, e.git_oid, e.is_lfs) for e in entries],
        license_id=license_id, lineage=lineage, git_object=body,
    )  # fmt: skip
    digest = write_manifest(store, repo.repo_id, commit_hash, manifest)
    return Draft(commit_hash, body, parents, letter.title, letter.message, author, tuple(entries), digest)


def _plain(text: str) -> str:
    """A name as git's author line can carry it."""
    return "".join(letter for letter in text if letter not in "<>\n\0").strip() or "nobody"


def withdraw_draft(repo: Repo, draft: Draft) -> None:
    """The manifest of a draft that became no commit is gone; left behind it would keep bytes for ever."""
    if not Commit.objects.filter(repo=repo, commit_hash=draft.commit_hash).exists():
        with suppress(StoreError):  # an orphan is untidy, and no reason to fail
            blob_store().delete(manifest_key(repo.repo_id, draft.commit_hash))


def record_draft(repo: Repo, draft: Draft, **facts: Any) -> Commit:
    """The rows of the commit, its files and their blobs. Inside the caller's transaction, which locks the repo.

    The same commit made twice, say for two branches in one second, is one row. `facts` are further columns.
    Raises BytesGone when bytes that were found in the store, and not put there now, are there no more.
    """
    blobs = _blobs(repo, draft)
    size_bytes = sum(entry.size_bytes for entry in draft.entries)
    commit, is_new = Commit.objects.get_or_create(
        repo=repo, commit_hash=draft.commit_hash,
        defaults={
            "parents": list(draft.parents), "title": draft.title[:500], "message": draft.message,
            "author": draft.author.name[:200], "committed_at": draft.author.when, "git_object": draft.git_object,
            "manifest_sha256": draft.manifest_sha256, "n_files": len(draft.entries), "size_bytes": size_bytes,
        } | facts,
    )  # fmt: skip
    if is_new:
        File.objects.bulk_create(
            [
                File(
                    commit=commit, path=entry.path, blob=blobs[entry.sha256], size_bytes=entry.size_bytes,
                    git_oid=entry.git_oid, is_lfs=entry.is_lfs, lfs_sha256=entry.sha256 if entry.is_lfs else None,
                )
                for entry in draft.entries
            ],
            batch_size=QUERY_SIZE,
        )  # fmt: skip
    return commit


def _blobs(repo: Repo, draft: Draft) -> dict[str, Blob]:
    try:
        return hold([entry.stored for entry in draft.entries])
    except BytesLeft as gone:
        raise BytesGone(repo, next(e.path for e in draft.entries if e.sha256 == gone.sha256)) from gone
