"""The upstream contract: what a place that we copy from must tell us, and what can go wrong with it.

An upstream is asked once which commit a revision means; from then on only the 40-hex hash is used, so a branch
that moves meanwhile can never give a mixture of two commits. Nothing an upstream says is believed: paths are
checked by `mirror.plan`, and bytes by `mirror.fetch`, which hashes all of them.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from mirror.upstream.errors import (
    AccessDenied,
    AddressRefused,
    BadAnswer,
    BadListing,
    BadUpstreamRef,
    EntryNotFound,
    NotOurTurn,
    RateLimited,
    RepoNotFound,
    RevisionNotFound,
    UpstreamError,
    UpstreamUnavailable,
    WrongBytes,
)

__all__ = [
    "AccessDenied", "AddressRefused", "BadAnswer", "BadListing", "BadUpstreamRef", "EntryNotFound", "NotOurTurn",
    "RateLimited", "RemoteCommit", "RemoteFile", "RemoteRef", "RepoNotFound", "RevisionNotFound", "UpstreamClient",
    "UpstreamError", "UpstreamUnavailable", "WrongBytes",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as upstream lists it; nothing of this is proven yet.

    `git_oid` is of the bytes, or of the pointer for an LFS object, whose bytes have `lfs_sha256`.
    """

    path: str
    size_bytes: int
    git_oid: str | None
    lfs_sha256: str | None = None

    @property
    def digest(self) -> str:
        """What identifies the bytes: the sha256 of an LFS object, the git oid of any other file."""
        return self.lfs_sha256 or self.git_oid or ""


@dataclass(frozen=True, slots=True)
class RemoteCommit:
    """What a revision means at this moment. `repo_id` is spelled as upstream spells it.

    `git_object` is git's own object of the commit, once somebody asked for it and proved it.
    """

    repo_id: str
    commit_hash: str
    title: str = ""
    message: str = ""
    author: str = ""
    committed_at: datetime | None = None
    parents: tuple[str, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
    git_object: bytes | None = None


@dataclass(frozen=True, slots=True)
class RemoteRef:
    """A branch or tag of upstream."""

    kind: Literal["branch", "tag"]
    name: str
    commit_hash: str


class UpstreamClient(Protocol):
    """A place that we copy from. One object may be used by several threads at once."""

    def resolve(self, repo_id: str, revision: str) -> RemoteCommit:
        """The commit that the revision means now. Raises RepoNotFound, RevisionNotFound, AccessDenied."""

    def list_files(self, repo_id: str, commit_hash: str) -> list[RemoteFile]:
        """Every file of the commit, in no particular order. Raises BadListing when it makes no sense."""

    def list_refs(self, repo_id: str) -> list[RemoteRef]:
        """Every branch and tag."""

    def commit_object(self, repo_id: str, commit_hash: str) -> bytes | None:
        """Git's own object of the commit, not proven; None where upstream has no way of giving it."""

    def open(
        self, repo_id: str, commit_hash: str, file: RemoteFile, start: int = 0
    ) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of the file from `start` to its end, in pieces, never more than it should have.

        Raises UpstreamUnavailable when they end early (open again at the place reached), WrongBytes when what
        is offered cannot be the file: another size, a web page, an LFS pointer, another commit.
        """
