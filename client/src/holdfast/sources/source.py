"""What a source of models offers, however it keeps them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Callable, Optional, Protocol

from holdfast.network.transport import Answer
from holdfast.sources.remote import RemoteFile, VariantAnswer

OpenRange = Callable[[int, Optional[int]], AbstractContextManager[Answer]]


class Source(Protocol):
    """One place to ask. Safe to share between threads; opening one asks nobody anything."""

    index_url: str

    def resolve(self, repo_id: str, revision: str) -> str:
        """The commit. Raises RepoNotFound if the name is unknown here, NotFound if only the revision is."""

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        """Every file of the commit, checked and sorted by path."""

    def resolve_variant(self, repo_id: str, revision: str, variant: str) -> VariantAnswer | None:
        """Where a variant is kept; None if the source does not know such things."""

    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> AbstractContextManager[Answer]:
        """Bytes [start, end) of a listed file, as an answer with status 200 or 206. Not verified."""

    def find(self, repo_id: str | None, commit: str, file: RemoteFile) -> OpenRange | None:
        """How to read the same bytes, by their digest, here; None if they are not here. Not verified.

        `repo_id` is None if the source must not hear of it: the name of a private repo is nobody else's business.
        """


class Opener(Protocol):
    """Where the bytes of one plan come from."""

    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> AbstractContextManager[Answer]:
        """Bytes [start, end) of a file of the plan. Safe to call from several threads at once."""

    def doubt(self, path: str) -> bool:
        """Called when the bytes of a file were wrong. True if fetching it again may go better: not all of them came
        from the index that named the digest, and those who gave the others are not asked any more."""
