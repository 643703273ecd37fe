"""The bytes of one remote file from a given place, with every way an HTTP server can get that wrong refused."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from mirror.upstream.base import RemoteFile
from mirror.upstream.errors import UpstreamUnavailable, WrongBytes
from mirror.upstream.http import Response

PIECE_BYTES = 1 << 20
PEEK_BYTES = 1024
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_PAGE = re.compile(rb"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"

Ask = Callable[[Mapping[str, str]], AbstractContextManager[Response]]


@contextmanager
def read_range(
    ask: Ask, file: RemoteFile, start: int, *, where: str, repo_id: str, commit_hash: str
) -> Iterator[Iterator[bytes]]:
    """Pieces of the file from `start` to its end.

    A server that ignores the range, or answers another one, is asked for the whole file and the beginning is
    dropped: bytes are never appended in the wrong place.
    """
    with ExitStack() as stack:
        response = stack.enter_context(ask({"Range": f"bytes={start}-"} if start else {}))
        skip = 0
        if start and _starts_at(response) != start:
            if response.status != 200:
                stack.close()
                response = stack.enter_context(ask({}))
            skip = start
        reader = _Reader(response, file, where=where, repo_id=repo_id, commit_hash=commit_hash)
        if response.status != 200 and _starts_at(response) != start - skip:
            raise reader.wrong_range(start - skip)
        yield reader.pieces(skip, start)


def _starts_at(response: Response) -> int | None:
    """The first byte of a partial answer; None if it is not one."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[1]) if response.status == 206 and found else None


class _Reader:
    """One answer, and what we know about the file it should be."""

    def __init__(
        self, response: Response, file: RemoteFile, *, where: str, repo_id: str, commit_hash: str
    ) -> None:
        self._response, self._where, self._file = response, where, file
        self._repo_id, self._commit_hash = repo_id, commit_hash

    def pieces(self, skip: int, start: int) -> Iterator[bytes]:
        """The body without its first `skip` bytes, in order. Raises when it is not, or not all of, the file."""
        self._check_commit()
        first = self._response.read(PEEK_BYTES)
        if skip or not start:
            self._refuse_imposter(first)
        self._check_size(start - skip)
        position = start - skip
        for piece in self._chain(first):
            end = position + len(piece)
            if end > self._file.size_bytes:
                raise self._wrong("wrong-size", f"{self._file.size_bytes} bytes", "more")
            if end > start:
                yield piece[max(0, start - position) :]
            position = end
        if position < self._file.size_bytes:
            raise self._unavailable(f"it ended after {position} of {self._file.size_bytes} bytes")

    def _chain(self, first: bytes) -> Iterator[bytes]:
        piece = first
        while piece:
            yield piece
            piece = self._response.read1(PIECE_BYTES)

    def _check_commit(self) -> None:
        said = self._response.headers.get("X-Repo-Commit", self._commit_hash)
        if said != self._commit_hash:
            raise self._wrong("wrong-commit", f"commit {self._commit_hash}", f"commit {said}")

    def _check_size(self, start: int) -> None:
        """The size the server announces, if it does, is the one that was listed."""
        headers = self._response.headers
        if found := _RANGE.fullmatch(headers.get("Content-Range", "")):
            total = int(found[3]) if found[3] != "*" else self._file.size_bytes
        elif (length := headers.get("Content-Length", "")).isdecimal():
            total = start + int(length)
        else:
            return
        if total != self._file.size_bytes:
            raise self._wrong("wrong-size", f"{self._file.size_bytes} bytes", f"{total} bytes")

    def _refuse_imposter(self, first: bytes) -> None:
        """A web page, or an LFS pointer, where a file should be."""
        if self._file.lfs_sha256 and first.startswith(_POINTER) and self._file.size_bytes > len(first):
            raise self._wrong("pointer-instead-of-file", f"{self._file.size_bytes} bytes", "an LFS pointer")
        kind = self._response.headers.get("Content-Type", "")
        is_page_expected = self._file.path.lower().endswith((".html", ".htm", ".md", ".xml", ".svg"))
        if _PAGE.match(first) and (not is_page_expected or "text/html" in kind) and not self._fits(first):
            raise self._wrong("html-instead-of-file", f"{self._file.size_bytes} bytes", "a web page")

    def _fits(self, first: bytes) -> bool:
        """True if the announced size is the listed one, and the digest may therefore have the last word."""
        length = self._response.headers.get("Content-Length", "")
        return length.isdecimal() and int(length) == self._file.size_bytes

    def _wrong(self, code: str, expected: str, actual: str) -> WrongBytes:
        return WrongBytes(self._repo_id, self._commit_hash, self._file.path, expected, actual, code=code)

    def wrong_range(self, start: int) -> UpstreamUnavailable:
        said = self._response.headers.get("Content-Range", "no range")
        return self._unavailable(f"asked for bytes from {start}, got {said} (status {self._response.status})")

    def _unavailable(self, reason: str) -> UpstreamUnavailable:
        what = f"{self._repo_id}@{self._commit_hash[:8]} {self._file.path}"
        return UpstreamUnavailable(self._where, what, reason)
