"""The blob store contract on a bucket."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from botocore.exceptions import ClientError

from mirror.blobs import reading
from mirror.blobs.errors import (
    InvalidKey,
    KeyMissing,
    RangeError,
    StoredDiffers,
    StoreUnavailable,
)
from mirror.blobs.hashing import Digester
from mirror.blobs.keys import INCOMING, check_key, check_name, check_prefix, check_target, is_staged
from mirror.blobs.s3.assembly import Piece, assemble, base64_of
from mirror.blobs.s3.connection import MISSING, RACED, TAKEN, Connection, code_of, named_errors
from mirror.blobs.s3.listing import delete_all, list_objects, unfinished_uploads
from mirror.blobs.s3.parts import GatheredParts, part_key
from mirror.blobs.s3.reader import OutsideObject, RangeStream
from mirror.blobs.s3.settings import S3Settings
from mirror.blobs.s3.staging import StagedParts
from mirror.blobs.s3.tail import PartsTail
from mirror.blobs.store import (
    Staged,
    StagedPart,
    Stat,
    check_copy_target,
    check_digests,
    check_promise,
    check_put,
)

COPY_AT_ONCE_BYTES = 8 << 20
COPY_PART_BYTES = 256 << 20
MAX_RACES = 4


class S3Store:
    """One bucket, or a prefix of it, of any S3-compatible service. Safe to share between threads and to fork."""

    name = "s3"

    def __init__(self, settings: S3Settings) -> None:
        self.connection = Connection(settings)

    def __repr__(self) -> str:
        return f"S3Store({self.connection.settings!r})"

    def stage(self, name: str, *, git_size: int | None = None) -> StagedParts:
        found = list_objects(self.connection, f"{INCOMING}{check_name(name)}/")
        return StagedParts(self.connection, name, git_size, found)

    def tail(self, name: str) -> PartsTail:
        return PartsTail(self.connection, check_name(name))

    def presign_part(self, name: str, part: StagedPart, *, seconds: int) -> str | None:
        key = part_key(check_name(name), part.number)
        # The length is signed: nobody fills the bucket through a URL that was given for less.
        wanted = {**self.connection.place(key), "ContentLength": part.size_bytes}
        with named_errors(key):
            return self.connection.public_client.generate_presigned_url(
                "put_object", Params=wanted, ExpiresIn=seconds
            )

    def write_part(self, name: str, part: StagedPart, pieces: Iterable[bytes]) -> None:
        data = b"".join(pieces)
        key = part_key(check_name(name), part.number)
        self._put_object(key, data, hashlib.sha256(data).hexdigest())

    def gather(self, name: str, parts: Sequence[StagedPart]) -> GatheredParts:
        found = list_objects(self.connection, f"{INCOMING}{check_name(name)}/")
        return GatheredParts(self.connection, name, parts, found)

    def promote(self, staged: Staged, key: str, *, sha256: str, size_bytes: int) -> bool:
        if not isinstance(staged, StagedParts | GatheredParts):
            raise TypeError("an S3 store promotes what it staged itself")
        check_promise(key, sha256)
        check_digests(key, staged.finish(), sha256, size_bytes)
        is_new = self._give_name(staged, key, sha256, size_bytes)
        staged.discard()
        return is_new

    def put(self, key: str, data: bytes, *, replace: bool = False) -> bool:
        digester = Digester()
        digester.update(data)
        sha256 = digester.digests().sha256
        check_put(key, data, replace, sha256)
        if not replace:
            return self._put_new(key, data, sha256)
        is_new = self.stat(key) is None
        self._put_object(key, data, sha256)
        return is_new

    def open(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        check_key(key)
        if length == 0 or start < 0 or (length or 0) < 0:
            return self._open_nothing(key, start, length)
        try:
            return reading.buffered(RangeStream(self.connection, key, start, length))
        except OutsideObject:
            return self._open_nothing(key, start, length)

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        with self.open(key, start, length) as reader:
            return reader.read()

    def stat(self, key: str) -> Stat | None:
        place = self.connection.place(check_key(key))
        with named_errors(key):
            try:
                head = self.connection.client.head_object(**place)
            except ClientError as error:
                if code_of(error) in MISSING:
                    return None
                raise
        return Stat(key, head["ContentLength"], head["LastModified"].astimezone(UTC))

    def copy(self, source: str, target: str) -> bool:
        check_copy_target(target)
        found = self.stat(source)
        if found is None:
            raise KeyMissing(source)
        if found.size_bytes <= COPY_AT_ONCE_BYTES:
            return self.put(target, self.read(source))
        if self._holds(target, found.size_bytes):
            return False
        is_new = assemble(self.connection, _cut(source, found.size_bytes), target)
        self._check_stored(target, found.size_bytes)
        return is_new

    def delete(self, key: str) -> None:
        place = self.connection.place(check_target(key))
        with named_errors(key):
            self.connection.client.delete_object(**place)

    def list(self, prefix: str) -> Iterator[Stat]:
        found = list_objects(self.connection, check_prefix(prefix))
        return (stat for stat in found if not is_staged(stat.key))

    def presign(self, key: str, *, seconds: int, filename: str | None = None) -> str | None:
        wanted: dict[str, Any] = {**self.connection.place(check_key(key))}
        if filename is not None:
            wanted["ResponseContentDisposition"] = _attachment(filename)
        with named_errors(key):
            return self.connection.public_client.generate_presigned_url(
                "get_object", Params=wanted, ExpiresIn=seconds
            )

    def local_path(self, key: str) -> Path | None:
        return None

    def staged_names(self) -> Iterator[Stat]:
        found = list_objects(self.connection, INCOMING)
        for key, parts in groupby(found, key=lambda stat: "/".join(stat.key.split("/")[:2])):
            seen = list(parts)
            yield Stat(key, sum(stat.size_bytes for stat in seen), max(stat.modified_at for stat in seen))

    def discard_abandoned(self, before: datetime) -> Sequence[Stat]:
        old = [stat for stat in self.staged_names() if stat.modified_at < before]
        for stat in old:
            delete_all(self.connection, stat.key + "/")
        return old + [self._abort(upload) for upload in unfinished_uploads(self.connection, before)]

    def _abort(self, upload: tuple[Stat, str]) -> Stat:
        stat, upload_id = upload
        with named_errors(stat.key), contextlib.suppress(ClientError):
            self.connection.client.abort_multipart_upload(
                **self.connection.place(stat.key), UploadId=upload_id
            )
        return stat

    def _open_nothing(self, key: str, start: int, length: int | None) -> BinaryIO:
        """An empty range is a question of whether object and place exist; any other range there is an error."""
        found = self.stat(key)
        if found is None:
            raise KeyMissing(key)
        is_empty = length == 0 or (length is None and start == found.size_bytes)
        if is_empty and reading.fits(start, length, found.size_bytes):
            return reading.empty()
        raise RangeError(key, start, length, found.size_bytes)

    def _give_name(self, staged: StagedParts | GatheredParts, key: str, sha256: str, size_bytes: int) -> bool:
        pieces = staged.pieces
        if not pieces:
            return self._put_new(key, staged.small, sha256)
        if self._holds(key, size_bytes):
            return False
        is_new = assemble(self.connection, pieces, key)
        self._check_stored(key, size_bytes)
        return is_new

    def _put_new(self, key: str, data: bytes, sha256: str) -> bool:
        """Put-if-absent in one request. Taken may mean: by our own earlier try, whose answer was lost."""
        for n_races in range(MAX_RACES):
            try:
                self._put_object(key, data, sha256, IfNoneMatch="*")
            except _Taken:
                self._check_stored(key, len(data))
                return False
            except _Raced:
                time.sleep(0.1 * 2**n_races)
                continue
            return True
        raise StoreUnavailable(f"{key}: other writers were in the way {MAX_RACES} times. Run the job again.")

    def _put_object(self, key: str, data: bytes, sha256: str, **condition: str) -> None:
        put: Callable[..., Any] = self.connection.client.put_object
        with named_errors(key):
            try:
                answer = put(
                    **self.connection.place(key), Body=data, ChecksumSHA256=base64_of(sha256), **condition
                )
            except ClientError as error:
                if condition and code_of(error) in TAKEN:
                    raise _Taken from error
                if condition and code_of(error) in RACED:
                    raise _Raced from error
                raise
        if answer.get("ChecksumSHA256") != base64_of(sha256):
            self._check_stored(key, len(data))

    def _holds(self, key: str, size_bytes: int) -> bool:
        found = self.stat(key)
        if found and found.size_bytes != size_bytes:
            raise StoredDiffers(key, size_bytes, found.size_bytes)
        return found is not None

    def _check_stored(self, key: str, size_bytes: int) -> None:
        """The object is there with that size: services have been seen to say 200 and to keep less."""
        if not self._holds(key, size_bytes):
            raise StoreUnavailable(
                f"{key}: the object store said it was written, but it is not there. Run again."
            )


class _Taken(Exception):
    """Put-if-absent found something."""


class _Raced(Exception):
    """Put-if-absent met another writer at the same moment."""


def _cut(key: str, size_bytes: int) -> list[Piece]:
    starts = range(0, size_bytes, COPY_PART_BYTES)
    return [Piece(key, start, min(COPY_PART_BYTES, size_bytes - start)) for start in starts]


def _attachment(filename: str) -> str:
    """Content-Disposition for any name: plain ASCII for old clients, UTF-8 for the others (RFC 6266)."""
    if any(ord(character) < 32 for character in filename):
        raise InvalidKey(filename, "a file name has no control characters")
    plain = filename.encode("ascii", "replace").decode().replace('"', "_").replace("\\", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
