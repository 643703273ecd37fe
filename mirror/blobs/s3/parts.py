"""Parts of a staged file as objects of their own, that others put there by presigned URLs.

Part `n` is `incoming/<name>/part-0000n`. Its URL stays good for hours, so the object may be replaced while or after we
hash it. The copy into the final object therefore names the ETag of what was hashed, and where the service tells the
checksum of a copied part, that must be the one we computed.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from mirror.blobs.errors import StagedIncomplete, StoreError
from mirror.blobs.hashing import CHUNK_BYTES, Digester
from mirror.blobs.keys import INCOMING
from mirror.blobs.s3.assembly import Piece
from mirror.blobs.s3.connection import Connection
from mirror.blobs.s3.listing import delete_all
from mirror.blobs.s3.reader import RangeStream
from mirror.blobs.store import Digests, StagedPart, Stat


def part_key(name: str, number: int) -> str:
    return f"{INCOMING}{name}/part-{number:05d}"


class GatheredParts:
    """The `Staged` of parts that are all there."""

    small = b""

    def __init__(
        self, connection: Connection, name: str, parts: Sequence[StagedPart], found: Iterator[Stat]
    ) -> None:
        self.name = name
        self._connection, self._parts = connection, parts
        self._digests: Digests | None = None
        self.pieces: list[Piece] = []
        sizes = {stat.key: stat.size_bytes for stat in found}
        for part in parts:
            size_bytes = sizes.get(part_key(name, part.number))
            if size_bytes != part.size_bytes:
                raise StagedIncomplete(name, part.number, part.size_bytes, size_bytes)

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes for part in self._parts)

    def write(self, data: bytes | memoryview) -> None:
        raise StoreError(f"incoming/{self.name} was sent in parts and takes no more.", code="staged-sealed")

    def checkpoint(self) -> int:
        return self.size_bytes

    def finish(self, on_progress: Callable[[int], None] | None = None) -> Digests:
        if self._digests is None:
            digester, pieces = Digester(), []
            for part in self._parts:
                pieces.append(self._hash(part, digester, on_progress))
            self.pieces, self._digests = pieces, digester.digests()
        return self._digests

    def _hash(self, part: StagedPart, digester: Digester, on_progress: Callable[[int], None] | None) -> Piece:
        key, own = part_key(self.name, part.number), hashlib.sha256()
        with RangeStream(self._connection, key, 0, None) as reader:
            while data := reader.read(CHUNK_BYTES):
                own.update(data)
                digester.update(data)
                if on_progress:
                    on_progress(digester.size_bytes)
            return Piece(key, sha256=own.hexdigest(), etag=reader.etag)

    def discard(self) -> None:
        delete_all(self._connection, f"{INCOMING}{self.name}/")

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
