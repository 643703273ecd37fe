"""Bytes on their way into a bucket: part objects of 8 or 48 MiB, hashed beside their upload.

A staged file is the objects `incoming/<name>/00001-<sha256 of part>`, `00002-…`. Why not the parts of one unfinished
multipart upload: those cannot be read back, so after a crash the sha256 of the whole could not be recomputed before
the object became visible, and some services do not list their checksums. Part objects can be read, are listed
consistently, and their names carry their digests: two writers under one name never overwrite each other's bytes,
and the copy into the final object is checked part by part. A file smaller than one part never touches `incoming/`:
it waits in memory and becomes one PUT with its own sha256 as the checksum.

Memory: at most `uploads + 1` parts. After a crash only whole parts count; the last, short one is sent again.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mirror.blobs.errors import DigestMismatch, StoreError
from mirror.blobs.hashing import CHUNK_BYTES, REPORT_SECONDS, Digester
from mirror.blobs.keys import INCOMING
from mirror.blobs.s3.assembly import Piece, base64_of
from mirror.blobs.s3.connection import Connection, named_errors
from mirror.blobs.s3.listing import delete_all
from mirror.blobs.s3.reader import RangeStream
from mirror.blobs.store import Digests, Stat

_PART_NAME = re.compile(r"(\d{5})-([0-9a-f]{64})")


@dataclass(eq=False)
class Part:
    """One part. `data` is dropped as soon as it is uploaded and hashed, or uploaded and the hash is far behind."""

    number: int
    size_bytes: int
    sha256: str = ""
    data: bytearray | None = None
    is_uploaded: bool = False
    is_hashed: bool = False


@dataclass
class _Lanes:
    """The threads of one stage: parts go up side by side, and are hashed one after another."""

    uploads: ThreadPoolExecutor
    hashing: ThreadPoolExecutor

    def stop(self) -> None:
        self.uploads.shutdown(wait=True, cancel_futures=True)
        self.hashing.shutdown(wait=True, cancel_futures=True)


class StagedParts:
    """The `Staged` of a bucket."""

    def __init__(
        self, connection: Connection, name: str, git_size: int | None, found: Iterator[Stat]
    ) -> None:
        self.name = name
        self._connection = connection
        self._folder = f"{INCOMING}{name}/"
        self._digester = Digester(git_size)
        self._filling = bytearray()
        self._changed = threading.Condition()
        self._n_held = self._n_hashed = 0
        self._lanes: _Lanes | None = None
        self._error: BaseException | None = None
        self._digests: Digests | None = None
        self._is_open = True
        seen = list(found)
        self._left_objects = bool(seen)
        self._parts = whole_parts(connection, self._folder, seen)
        self._sent_bytes = sum(part.size_bytes for part in self._parts)
        for part in self._parts:
            self._run(self._open_lanes().hashing, self._hash, part)

    @property
    def size_bytes(self) -> int:
        return self._sent_bytes + len(self._filling)

    @property
    def pieces(self) -> list[Piece]:
        """What a finished stage consists of; empty if it is small."""
        return [Piece(self._part_key(part), sha256=part.sha256) for part in self._parts]

    @property
    def small(self) -> bytes:
        """All bytes of a finished stage that never filled a part."""
        return bytes(self._filling)

    def write(self, data: bytes | memoryview) -> None:
        self._check_writable()
        rest = memoryview(data)
        while rest:
            part_bytes = self._connection.settings.part_bytes(len(self._parts) + 1)
            room = part_bytes - len(self._filling)
            self._filling += rest[:room]
            rest = rest[room:]
            if len(self._filling) == part_bytes:
                self._send()

    def checkpoint(self) -> int:
        self._check_open()
        self._wait_for(lambda: all(part.is_uploaded for part in self._parts))
        return self._sent_bytes

    def finish(self, on_progress: Callable[[int], None] | None = None) -> Digests:
        if self._digests is None:
            self._check_open()
            if self._parts:
                self._finish_parts(on_progress)
            else:
                self._digester.update(self._filling)
            self._digests = self._digester.digests()
        return self._digests

    def _finish_parts(self, on_progress: Callable[[int], None] | None) -> None:
        if self._filling:
            self._send()
        self._wait_for(lambda: all(part.is_uploaded and part.is_hashed for part in self._parts), on_progress)

    def discard(self) -> None:
        was_open = self._is_open
        self.close()
        if was_open and (self._left_objects or self._parts):
            delete_all(self._connection, self._folder)

    def close(self) -> None:
        self._is_open = False
        if self._lanes:
            self._lanes.stop()
            self._lanes = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self) -> None:
        """What was filled is a part on its way; waits while too many parts are held in memory."""
        part = Part(len(self._parts) + 1, len(self._filling), data=self._filling)
        self._parts.append(part)
        self._sent_bytes += part.size_bytes
        self._filling = bytearray()
        with self._changed:
            self._n_held += 1
        lanes = self._open_lanes()
        self._run(lanes.uploads, self._upload, part)
        self._run(lanes.hashing, self._hash, part)
        self._wait_for(lambda: self._n_held <= self._connection.settings.uploads)

    def _upload(self, part: Part) -> None:
        assert part.data is not None  # noqa: S101  # only dropped after this
        part.sha256 = hashlib.sha256(part.data).hexdigest()
        key = self._part_key(part)
        with named_errors(key):
            self._connection.client.put_object(
                **self._connection.place(key),
                Body=part.data,  # type: ignore[arg-type]  # the stubs forgot that bytearray is fine
                ChecksumSHA256=base64_of(part.sha256),
            )
        with self._changed:
            part.is_uploaded = True
            self._let_go(part)

    def _hash(self, part: Part) -> None:
        with self._changed:
            data = part.data
        if data is None:
            self._hash_stored(part)
        else:
            self._digester.update(data)
        with self._changed:
            part.is_hashed = True
            self._n_hashed += 1
            self._let_go(part)

    def _hash_stored(self, part: Part) -> None:
        """A part of an earlier life is read back, and must still be what its name says."""
        proof = hashlib.sha256()
        with RangeStream(self._connection, self._part_key(part), 0, None) as reader:
            while self._is_open and (data := reader.read(CHUNK_BYTES)):
                proof.update(data)
                self._digester.update(data)
        if self._is_open and proof.hexdigest() != part.sha256:
            raise DigestMismatch(self._part_key(part), part.sha256, proof.hexdigest())

    def _let_go(self, part: Part) -> None:
        """Frees the part's memory if nobody needs it. Far behind, the hash reads it back later instead."""
        is_behind = len(self._parts) - self._n_hashed > self._connection.settings.uploads + 1
        if part.data is not None and part.is_uploaded and (part.is_hashed or is_behind):
            part.data = None
            self._n_held -= 1
        self._changed.notify_all()

    def _part_key(self, part: Part) -> str:
        return f"{self._folder}{part.number:05d}-{part.sha256}"

    def _open_lanes(self) -> _Lanes:
        if self._lanes is None:
            n_uploads = self._connection.settings.uploads
            self._lanes = _Lanes(
                ThreadPoolExecutor(n_uploads, "blob-upload"), ThreadPoolExecutor(1, "blob-hash")
            )
        return self._lanes

    def _run(self, lane: ThreadPoolExecutor, verb: Callable[[Part], None], part: Part) -> None:
        def run() -> None:
            try:
                verb(part)
            except BaseException as error:  # carried to the thread that owns the stage
                with self._changed:
                    self._error = self._error or error
                    self._changed.notify_all()

        lane.submit(run)

    def _wait_for(
        self, is_done: Callable[[], bool], on_progress: Callable[[int], None] | None = None
    ) -> None:
        """Until it is so; the error of any part's upload or hashing is raised here."""
        done = False
        while not done:
            with self._changed:
                done = self._changed.wait_for(lambda: self._error is not None or is_done(), REPORT_SECONDS)
            self._raise_error()
            if on_progress:
                on_progress(self._digester.size_bytes)

    def _raise_error(self) -> None:
        if self._error:
            raise self._error

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreError(
                f"incoming/{self.name} was closed; stage it again to resume.", code="staged-closed"
            )
        self._raise_error()

    def _check_writable(self) -> None:
        self._check_open()
        if self._digests is not None:
            raise StoreError(
                f"incoming/{self.name} is finished with {self.size_bytes} bytes and takes no more. "
                "Promote it, or discard it and start again.",
                code="staged-sealed",
            )


def whole_parts(connection: Connection, folder: str, found: list[Stat]) -> list[Part]:
    """The parts to continue after: 1, 2, 3 … without a gap, each of its full size."""
    parts: list[Part] = []
    for stat in found:
        match = _PART_NAME.fullmatch(stat.key.removeprefix(folder))
        number = len(parts) + 1
        is_next = match is not None and int(match[1]) == number
        if match and is_next and stat.size_bytes == connection.settings.part_bytes(number):
            parts.append(Part(number, stat.size_bytes, sha256=match[2], is_uploaded=True))
    return parts
