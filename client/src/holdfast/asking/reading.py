"""Small files of a repo, read or hashed without being kept: the cached bytes if they are here, else the index's.

Either way they are verified against the listing before anybody looks at them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial as bind
from pathlib import Path
from typing import Protocol

from holdfast.cache.layout import RepoCache
from holdfast.errors import HashMismatch, NetworkError
from holdfast.fetching.hashing import Digests, Expected, Hasher, hash_file
from holdfast.network.patience import with_patience
from holdfast.network.transport import Answer, show_url
from holdfast.sources.remote import RemoteFile
from holdfast.text import printable

MAX_READ_BYTES = 4 << 20
PIECE_BYTES = 1 << 20


class Opens(Protocol):
    """Whatever gives the bytes of a listed file."""

    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> AbstractContextManager[Answer]:
        """Bytes [start, end) of the file; end None means to its end."""


class Reader:
    """Reads files of one commit. Without a source only the cache is looked at."""

    def __init__(
        self, source: Opens | None, cache_dir: Path, repo_id: str, commit: str, *, retries: int
    ) -> None:
        self.repo_id = repo_id
        self.commit = commit
        self._source = source
        self._repo = RepoCache(cache_dir, repo_id)
        self._retries = retries

    def read(self, file: RemoteFile) -> bytes | None:
        """The bytes of a file of at most MAX_READ_BYTES; None if it is larger, or cannot be had offline."""
        if file.size_bytes > MAX_READ_BYTES:
            return None
        kept = bytearray()
        return bytes(kept) if self._digests(file, kept) is not None else None

    def sha256(self, file: RemoteFile) -> str | None:
        """Its sha256; None if it cannot be had offline. Memory: one MiB."""
        if file.sha256 is not None:
            return file.sha256
        got = self._digests(file, None)
        return None if got is None else got.sha256

    def _digests(self, file: RemoteFile, keep: bytearray | None) -> Digests | None:
        """The verified digests; the bytes are added to `keep`."""
        cached = self._cached(file)
        if cached is not None:
            got = hash_file(cached, with_git=file.sha256 is None)
            if _expected(file).difference(got) is None:
                if keep is not None:
                    keep += cached.read_bytes()
                return got
        return None if self._source is None else self._fetched(self._source, file, keep)

    def _cached(self, file: RemoteFile) -> Path | None:
        places = (
            self._repo.blob_path(file.etag),
            self._repo.snapshot_path(self.commit) / file.path,
        )
        return next((place for place in places if place.is_file()), None)

    def _fetched(self, source: Opens, file: RemoteFile, keep: bytearray | None) -> Digests:
        got = with_patience(self._retries, bind(self._stream, source, file, keep))
        difference = _expected(file).difference(got)
        if difference is not None:
            what, expected, actual = difference
            raise HashMismatch(
                f"{what} mismatch: {self.repo_id}@{self.commit[:12]} {printable(file.path)}: "
                f"expected {expected}, got {actual}",
                hint="Nothing was written. Run it again; if it repeats, the index has a bad copy.",
                path=file.path,
                expected=expected,
                actual=actual,
            )
        return got

    def _stream(self, source: Opens, file: RemoteFile, keep: bytearray | None) -> Digests:
        hasher = Hasher(git_size=None if file.sha256 else file.size_bytes)
        if keep is not None:
            keep.clear()
        with source.open_file(self.repo_id, self.commit, file.path, 0, None) as answer:
            while hasher.size_bytes < file.size_bytes:
                piece = answer.read_some(min(PIECE_BYTES, file.size_bytes - hasher.size_bytes))
                if not piece:
                    raise NetworkError(
                        f"{show_url(answer.url)} ended before all bytes had come", url=answer.url
                    )
                hasher.update(piece)
                if keep is not None:
                    keep += piece
        return hasher.digests()


def _expected(file: RemoteFile) -> Expected:
    return Expected(file.size_bytes, file.sha256, None if file.sha256 else file.git_oid, file.pins)
