"""The blob store contract: how bytes come in, become trustworthy, and are read again.

**What makes a blob trustworthy.** Bytes arrive under a staged name in `incoming/`, where nobody looks for them.
Every byte is hashed by us: as it is written, and again from the store after a crash. Only when size and sha256
equal what upstream declared (or what our own program computed) does `promote` give them their final name,
`blobs/sha256/ab/cd/<sha256>`, in one atomic step that never overwrites. From then on the bytes are immutable,
the name says what they must be, and anybody with `sha256sum` can check it, in thirty years too. So:

* an object under `blobs/` was complete, durable and hashed before it became visible; half an object never is;
* putting the same bytes twice is success, by any number of writers at once, and one of them is told that they are
  new (a service whose conditional completion is not atomic may tell several; `check_storage` finds out);
* a crash at any instant leaves staged bytes (resumed or swept later), never a wrong blob;
* what happens to the bytes afterwards (bit rot, a careless hand) is what `audit` looks for.

**Readers never know how bytes are stored.** They ask for a key and a byte range. A blob may later be kept packed
or compressed without any reader changing; `local_path` and `presign` are short cuts that may answer None.

A store is one object per process, safe to share between threads. A `Staged` belongs to one thread at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from mirror.blobs.errors import (
    DigestMismatch,
    InvalidKey,
    KeyMissing,
    OutOfSpace,
    RangeError,
    StagedBusy,
    StagedGone,
    StagedIncomplete,
    StoredDiffers,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from mirror.blobs.keys import blob_key, check_target, is_blob_key, manifest_key, sha256_of

__all__ = [
    "BlobStore",
    "DigestMismatch",
    "Digests",
    "InvalidKey",
    "KeyMissing",
    "OutOfSpace",
    "RangeError",
    "Staged",
    "StagedBusy",
    "StagedGone",
    "StagedIncomplete",
    "StagedPart",
    "Stat",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "StoredDiffers",
    "Tail",
    "blob_key",
    "manifest_key",
    "sha256_of",
]


@dataclass(frozen=True, slots=True)
class Stat:
    """One stored object. For staged bytes the key is `incoming/<name>`, size and time are those of what is durable."""

    key: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A part of staged bytes: its number, from 1, where it begins, and its size."""

    number: int
    start: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Digests:
    """What the bytes are. `git_oid` only if a git size was announced and was the true size."""

    sha256: str
    size_bytes: int
    git_oid: str | None = None


class Staged(Protocol):
    """Bytes on their way in, written front to back, resumable under the same name after any crash."""

    name: str

    @property
    def size_bytes(self) -> int:
        """How many bytes are held so far: the place to continue from."""

    def write(self, data: bytes | memoryview) -> None:
        """The bytes are appended. The buffer may be reused at once. Raises OutOfSpace, and StoreError if sealed:
        bytes that were promoted or finished before a crash cannot grow; discard them if they are not all."""

    def checkpoint(self) -> int:
        """What was written is durable as far as the store can; returns how many bytes a crash would leave."""

    def finish(self, on_progress: Callable[[int], None] | None = None) -> Digests:
        """Everything is durable; returns the digests of all bytes. Idempotent.

        After a resume the earlier bytes are read back and hashed again, which for 400 GB takes minutes:
        `on_progress(bytes_hashed)` is called about once a second meanwhile and may raise to give up.
        """

    def discard(self) -> None:
        """Nothing is staged under this name any more. Idempotent; closes."""

    def close(self) -> None:
        """Threads and handles are gone, the staged bytes stay for a later resume. Idempotent."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Tail(Protocol):
    """Staged bytes read behind their writer, by anybody, while they grow. Nothing of them is proven: whoever hands
    them on keeps something back until the blob is there. Belongs to one thread at a time."""

    def size_bytes(self) -> int:
        """How many bytes can be read by now; 0 while nothing is staged. Never less than before: raises StagedGone
        when what was seen was thrown away, or, where the store cannot tell that apart, has its final name."""

    def read(self, start: int, length: int) -> bytes:
        """Bytes from `start`, at least one and at most `length`, all of which `size_bytes` has told of.
        Raises StagedGone."""

    def close(self) -> None:
        """Handles are gone. Idempotent."""


class BlobStore(Protocol):
    """Where bytes live. Every implementation passes `tests/mirror/blobs/test_store.py`."""

    name: str
    """What kind of store it is, as Blob.store records it: `directory`, `s3`."""

    def stage(self, name: str, *, git_size: int | None = None) -> Staged:
        """Opens, or resumes, the bytes staged under the name. With `git_size` (the size the bytes will have)
        their git blob id is computed too. Raises StagedBusy where the store can tell that another writer has it."""

    def tail(self, name: str) -> Tail:
        """A reader of what is, or will be, staged under the name. Opens nothing that a writer could notice."""

    def presign_part(self, name: str, part: StagedPart, *, seconds: int) -> str | None:
        """A URL to which anybody may PUT the bytes of that part of what is staged under the name, for that long.
        None: this store has no URLs of its own, and `write_part` takes the bytes."""

    def write_part(self, name: str, part: StagedPart, pieces: Iterable[bytes]) -> None:
        """The pieces, which are as long as the part, are staged at its place, durable. Parts may come in any order,
        side by side, and again. What is staged in parts is not staged front to back. Raises StagedBusy while
        somebody gathers the parts, and OutOfSpace."""

    def gather(self, name: str, parts: Sequence[StagedPart]) -> Staged:
        """What was put in these parts, as one stage to finish and promote; it takes no writes. Nothing is believed of
        who put them: finish() reads all bytes from the store. Raises StagedIncomplete, StagedBusy."""

    def promote(self, staged: Staged, key: str, *, sha256: str, size_bytes: int) -> bool:
        """The staged bytes are stored under the key and staged no more. True if they are new, False if the key
        was already held. Finishes the stage if that was not done. Atomic, idempotent, never overwrites.
        Raises DigestMismatch (staged bytes stay) unless they have exactly this digest and size."""

    def put(self, key: str, data: bytes, *, replace: bool = False) -> bool:
        """Small objects in one step: put-if-absent, True if new. `replace` overwrites, and is refused for blobs.
        A blob key must be that of the data (else DigestMismatch)."""

    def open(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        """A reader of exactly that range, to be closed by the caller; not seekable.
        Raises KeyMissing, and RangeError unless 0 <= start <= start + length <= size."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes of that range, all of them, in memory."""

    def stat(self, key: str) -> Stat | None:
        """Size and time of what is stored, or None."""

    def copy(self, source: str, target: str) -> bool:
        """The target holds the source's bytes: put-if-absent, True if new. Not onto blob keys: blobs are promoted."""

    def delete(self, key: str) -> None:
        """Nothing is stored under the key. Idempotent. The caller has made sure that nobody needs it."""

    def list(self, prefix: str) -> Iterator[Stat]:
        """What is stored under keys that start so, never staged bytes; each once, blob keys in ascending order (other
        keys come in the store's own order: SeaweedFS lists `a/b` before `a-b`). Bounded memory."""

    def presign(self, key: str, *, seconds: int, filename: str | None = None) -> str | None:
        """A URL from which anybody may GET the object, or ranges of it, for that long.
        None: this store has no URLs of its own."""

    def local_path(self, key: str) -> Path | None:
        """Where the bytes lie as a plain file on this machine, for mmap and sendfile. None: read by range."""

    def staged_names(self) -> Iterator[Stat]:
        """What lies in `incoming/`, for the audit and the sweeper."""

    def discard_abandoned(self, before: datetime) -> Sequence[Stat]:
        """Whatever was staged, or half promoted, and neither touched since nor held by a writer, is gone;
        returns what was removed."""


def check_promise(key: str, sha256: str) -> None:
    """Refuses a final name that does not suit the digest: a blob key must be that of these very bytes."""
    check_target(key)
    if is_blob_key(key) and key != blob_key(sha256):
        raise DigestMismatch(key, sha256_of(key) or key, sha256)


def check_digests(key: str, digests: Digests, sha256: str, size_bytes: int) -> None:
    """Raises DigestMismatch unless these bytes are the ones that were declared."""
    if digests.size_bytes != size_bytes:
        raise DigestMismatch(key, f"{size_bytes} bytes", f"{digests.size_bytes} bytes")
    if digests.sha256 != sha256:
        raise DigestMismatch(key, f"sha256 {sha256}", f"sha256 {digests.sha256}")


def check_copy_target(key: str) -> None:
    """Refuses to copy onto a blob key, where only hashed bytes may go."""
    if is_blob_key(check_target(key)):
        raise InvalidKey(key, "blobs come into being by promotion, which hashes them")


def check_put(key: str, data: bytes, replace: bool, sha256: str) -> None:
    """Refuses to overwrite a blob, or to put bytes under the blob key of others."""
    check_promise(key, sha256)
    if replace and is_blob_key(key):
        raise InvalidKey(key, "blobs are immutable and are never replaced")
