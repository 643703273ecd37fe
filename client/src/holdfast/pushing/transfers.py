"""The bytes of large files on their way: `basic` (whole) and the Hub's `multipart` (in parts, several addresses).

Specs: git-lfs `docs/api/basic-transfers.md`; multipart is the Hub's own. Of parts a note is kept, so that a run that
was killed sends the others only; an index that does not take them together any more gets them all again.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import BadAnswer, HoldfastError, Refused
from holdfast.fetching.progress import Progress
from holdfast.fetching.workers import worker_threads
from holdfast.network.patience import with_patience
from holdfast.network.sending import post_json, read_json, refused
from holdfast.network.urls import origin
from holdfast.pushing.folder import LocalFile
from holdfast.pushing.notes import Note
from holdfast.pushing.objects import MEDIA_TYPE, Store, Way, check_address, malformed

READ_BYTES = 1 << 20
MAX_PARTS = 10_000


def send_all(store: Store, ways: Sequence[Way], progress: Progress, *, max_workers: int) -> None:
    """Afterwards the index has every object, and has hashed it. The first failure ends the run; parts are kept."""
    with worker_threads(max_workers, "push") as pool:
        for done in [pool.submit(_Transfer(store, way, progress).run) for way in ways]:
            done.result()


@dataclass(frozen=True)
class _Transfer:
    """One file on its way."""

    store: Store
    way: Way
    progress: Progress

    @property
    def file(self) -> LocalFile:
        return self.way.hashed.wanted.file

    def run(self) -> None:
        """Sends the file, and asks the index to look at it."""
        self.progress.started(self.file.path, self.file.size_bytes, 0)
        header = self.way.upload.get("header") or {}
        if "chunk_size" in header:
            self._send_parts(header)
        else:
            headers = {str(name): str(value) for name, value in header.items()}
            self._put(str(self.way.upload["href"]), 0, self.file.size_bytes, headers)
        if self.way.verify_url is not None:
            question = {"oid": self.way.hashed.oid, "size": self.file.size_bytes}
            post_json(
                self.store.transport, self.way.verify_url, question, name=self.file.path,
                retries=self.store.retries, kind=MEDIA_TYPE,
            )  # fmt: skip
        self.progress.finished(self.file.path)

    def _put(self, url: str, start: int, end: int, headers: Mapping[str, str]) -> str:
        """Sends bytes [start, end) of the file and returns the ETag. What was in vain is taken off the progress."""

        def once() -> str:
            body = _Piece(self.file.local, start, end, lambda n: self.progress.advanced(self.file.path, n))
            sent = {"Content-Length": str(end - start), **headers}
            try:
                with body, self.store.transport.send("PUT", url, body, sent, with_token=False) as answer:
                    if answer.status not in (200, 201, 204):
                        raise refused(answer, self.file.path)
                    return answer.headers.get("ETag", "")
            except HoldfastError:
                self.progress.advanced(self.file.path, -body.n_read)
                raise

        return with_patience(self.store.retries, once)

    # --- in parts --------------------------------------------------------------------------------------

    def _send_parts(self, header: Mapping[str, Any]) -> None:
        part_bytes, urls = self._cut(header)
        note = Note(self.store, self.way.hashed.oid, part_bytes, len(urls))
        try:
            self._send_missing(urls, part_bytes, note)
            self._end(note)
        except Refused:
            if not note.was_kept:
                raise
            note.forget()  # what an earlier run sent does not count any more: all parts again
            self.progress.advanced(self.file.path, -self.file.size_bytes)
            self._send_missing(urls, part_bytes, note)
            self._end(note)
        note.forget()

    def _cut(self, header: Mapping[str, Any]) -> tuple[int, list[str]]:
        try:
            part_bytes = int(header["chunk_size"])
            numbered = {int(name): url for name, url in header.items() if str(name).isdecimal()}
        except (ValueError, TypeError) as error:
            raise malformed(self.store, "parts without a size") from error
        size, n_parts = self.file.size_bytes, len(numbered)
        fits = part_bytes > 0 and sorted(numbered) == list(range(1, -(-size // part_bytes) + 1))
        if not fits or n_parts > MAX_PARTS:
            raise malformed(self.store, f"{n_parts} addresses for parts of {part_bytes} bytes of {size}")
        return part_bytes, [check_address(self.store, numbered[number]) for number in sorted(numbered)]

    def _send_missing(self, urls: Sequence[str], part_bytes: int, note: Note) -> None:
        for number, url in enumerate(urls, start=1):
            start, end = (number - 1) * part_bytes, min(number * part_bytes, self.file.size_bytes)
            if number in note.etags:
                self.progress.advanced(self.file.path, end - start)
            else:
                note.add(number, self._put(url, start, end, {}))

    def _end(self, note: Note) -> None:
        url = check_address(self.store, self.way.upload["href"])
        parts = [{"partNumber": number, "etag": etag} for number, etag in sorted(note.etags.items())]
        body = json.dumps({"oid": self.way.hashed.oid, "parts": parts}).encode()
        is_home = origin(url) == origin(self.store.index_url)
        headers = {"Content-Type": "application/json"}

        def once() -> None:
            with self.store.transport.send("POST", url, body, headers, with_token=is_home) as answer:
                if answer.status not in (200, 201):
                    raise refused(answer, self.file.path)
                with contextlib.suppress(BadAnswer):
                    read_json(answer)

        with_patience(self.store.retries, once)


class _Piece(io.RawIOBase):
    """Bytes [start, end) of a file, to be read once."""

    def __init__(self, path: Path, start: int, end: int, on_read: Any) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._file.seek(start)
        self._left = end - start
        self._on_read = on_read
        self.n_read = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = min(self._left, READ_BYTES if size < 0 else size)
        data = self._file.read(wanted)
        self._left -= len(data)
        self.n_read += len(data)
        self._on_read(len(data))
        return data

    def close(self) -> None:
        self._file.close()
        super().close()
