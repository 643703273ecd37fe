"""Where files lie under keys (`org/name/SHA256SUMS`, `blobs/sha256/ab/cd/…`): a folder, or an address of a web server.

Keys are made of checked names only; a store quotes them, and never normalises. Nothing that is read is trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote

from holdfast.errors import AuthFailed, BadAnswer, NotFound
from holdfast.network.patience import with_patience
from holdfast.network.transport import MAX_JSON_BYTES, Answer, Transport, said
from holdfast.network.urls import show_url
from holdfast.sources.local import open_local
from holdfast.text import printable


class Listed(NamedTuple):
    """One key of a listing, and when it was written in whatever unit the store has; later sorts after earlier."""

    key: str
    written: str


class Store(Protocol):
    """Bytes under keys."""

    url: str

    def open(self, key: str, start: int, end: int | None) -> AbstractContextManager[Answer]:
        """Bytes [start, end) of the key, as an answer with status 200 or 206. Raises NotFound."""

    def read(self, key: str) -> bytes:
        """A small file whole. Raises NotFound, and BadAnswer beyond 64 MiB."""

    def listing(self, prefix: str, limit: int) -> list[Listed]:
        """The keys that start so, at most `limit` of them. Raises AuthFailed where nobody may list."""


def read_small(store: Store, key: str, retries: int) -> bytes:
    """A small file whole, asked again after what may pass. A web page is not what was asked for: NotFound."""

    def ask() -> bytes:
        with store.open(key, 0, None) as answer:
            if answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/html":
                raise NotFound(f"{show_url(answer.url)} is a web page", url=answer.url)
            return answer.read_all(MAX_JSON_BYTES)

    return with_patience(retries, ask)


class FolderStore:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = folder.as_uri()

    def open(self, key: str, start: int, end: int | None) -> AbstractContextManager[Answer]:
        return open_local(self.folder.joinpath(*key.split("/")), start, end)

    def read(self, key: str) -> bytes:
        return read_small(self, key, 0)

    def listing(self, prefix: str, limit: int) -> list[Listed]:
        """Of a folder, only what lies directly in it."""
        base = self.folder.joinpath(*prefix.rstrip("/").split("/"))
        try:
            found = [(path.name, path.stat().st_mtime_ns) for path in base.iterdir() if path.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise AuthFailed(f"cannot list {printable(base)}: {error.strerror}", path=str(base)) from error
        return [Listed(f"{prefix}{name}", f"{written:020}") for name, written in sorted(found)[:limit]]


class WebStore:
    """Files below an address. Nothing can be listed."""

    def __init__(self, url: str, transport: Transport, *, retries: int) -> None:
        self.url = url
        self._transport = transport
        self._retries = retries

    @contextmanager
    def open(self, key: str, start: int, end: int | None) -> Iterator[Answer]:
        with self._transport.open(self._address(key), range_header(start, end)) as answer:
            if answer.status not in (200, 206):
                raise refusal(answer, key)
            yield answer

    def _address(self, key: str) -> str:
        return f"{self.url}/{quote(key)}"

    def read(self, key: str) -> bytes:
        return read_small(self, key, self._retries)

    def listing(self, prefix: str, limit: int) -> list[Listed]:
        raise AuthFailed(f"{show_url(self.url)} is a plain web tree: it lists nothing", url=self.url)


def range_header(start: int, end: int | None) -> dict[str, str]:
    """`Range`, or nothing for the whole."""
    if not start and end is None:
        return {}
    return {"Range": f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"}


def refusal(answer: Answer, key: str) -> NotFound | AuthFailed | BadAnswer:
    """What a status other than 200 and 206 means."""
    where = show_url(answer.url)
    facts = {"url": answer.url.partition("?")[0], "status": answer.status, "key": key}
    if answer.status in (404, 410):
        return NotFound(f"not there: {where}", hint="Check the address.", **facts)
    if answer.status in (401, 403):
        return AuthFailed(
            f"{where}: access refused ({answer.status}): {said(answer)}",
            hint="It is not public, or not there. A bucket takes AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            **facts,
        )
    return BadAnswer(
        f"{where} answered {answer.status}: {said(answer)}",
        hint="Run again with -v to see the request.",
        **facts,
    )
