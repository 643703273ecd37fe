"""What a store can and cannot do, found by trying it on scratch objects that are removed afterwards.

Services that call themselves S3-compatible differ exactly where a blob store leans on them: conditional writes,
checksums, part copies, signed URLs. One that ignores If-None-Match or accepts a wrong checksum says 200 all the
same, so nothing but trying finds out.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any

from mirror.blobs.store import (
    BlobStore,
    DigestMismatch,
    KeyMissing,
    RangeError,
    StoreError,
    blob_key,
)

SCRATCH = "check-storage/"
N_RACERS = 16
LARGE_BYTES = (17 << 20) + 321
"""More than two parts of a bucket's default, more than the directory store hashes in line."""


@dataclass
class Bench:
    """A store under test, with names that nobody else uses and the list of what is to be removed."""

    store: BlobStore
    prefix: str = field(default_factory=lambda: f"{SCRATCH}{secrets.token_hex(8)}-")
    made: list[str] = field(default_factory=list)

    def key(self, name: str) -> str:
        """A scratch key, removed at the end."""
        self.made.append(self.prefix + name)
        return self.made[-1]

    def keep(self, data: bytes) -> str:
        """The data as a blob; its key."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.made.append(blob_key(sha256))
        with self.store.stage(self.stage_name()) as staged:
            staged.write(data)
            self.store.promote(staged, self.made[-1], sha256=sha256, size_bytes=len(data))
        return self.made[-1]

    def stage_name(self) -> str:
        return f"check-{secrets.token_hex(8)}"

    def clean(self) -> None:
        """The scratch objects are gone, as far as the store lets us."""
        for key in self.made:
            with suppress(StoreError):
                self.store.delete(key)


class Lacking(Exception):
    """The store answered, but not as it must; the message says what it did."""


@dataclass(frozen=True)
class Check:
    """One thing that a store should do. `run` returns what it saw, or raises Lacking or StoreError."""

    name: str
    run: Callable[[Any], str]
    consequence: str
    remedy: str
    is_needed: bool = True


@dataclass(frozen=True)
class Finding:
    """What a check saw. `consequence` and `remedy` matter only if it is not ok."""

    name: str
    is_ok: bool
    is_needed: bool
    detail: str
    consequence: str
    remedy: str

    @property
    def is_fatal(self) -> bool:
        """Whether Holdfast must not run on this store."""
        return self.is_needed and not self.is_ok


def probe(store: BlobStore) -> Iterator[Finding]:
    """Each check's finding as soon as it is known. Writes and removes scratch objects; changes nothing else."""
    bench = Bench(store)
    try:
        for check in [*COMMON, *_special_checks(store)]:
            finding = _try(check, bench)
            yield finding
            if finding.is_fatal and check is COMMON[0]:
                return  # without put and get every other line would say the same
    finally:
        bench.clean()


def expect(is_so: bool, otherwise: str) -> None:
    """Raises Lacking with what was seen, unless it is so."""
    if not is_so:
        raise Lacking(otherwise)


def _special_checks(store: BlobStore) -> list[Check]:
    if store.name == "s3":
        from mirror.blobs.s3.probe import CHECKS as OF_S3

        return OF_S3
    from mirror.blobs.directory.probe import CHECKS as OF_DIRECTORY

    return OF_DIRECTORY


def _try(check: Check, bench: Bench) -> Finding:
    try:
        is_ok, detail = True, check.run(bench)
    except (Lacking, StoreError) as error:
        is_ok, detail = False, str(error)
    return Finding(check.name, is_ok, check.is_needed, detail, check.consequence, check.remedy)


# --- what every store must do ----------------------------------------------------------------------------------


def _put_and_get(bench: Bench) -> str:
    key = bench.key("hello")
    bench.store.put(key, b"hello")
    expect(bench.store.read(key) == b"hello", "other bytes came back than were written")
    return "5 bytes there and back"


def _put_if_absent(bench: Bench) -> str:
    key = bench.key("first")
    expect(bench.store.put(key, b"first"), "a new key was reported as taken")
    expect(not bench.store.put(key, b"other"), "a second put under the same key was accepted")
    expect(bench.store.read(key) == b"first", "a second put overwrote the first")
    return "the second writer was refused"


def race(act: Callable[[int], bool]) -> int:
    """How many of sixteen simultaneous callers were told that they were first."""
    barrier = Barrier(N_RACERS)

    def run(number: int) -> bool:
        barrier.wait(60)
        return act(number)

    with ThreadPoolExecutor(N_RACERS) as pool:
        return sum(pool.map(run, range(N_RACERS)))


def _racing_puts(bench: Bench) -> str:
    key = bench.key("race")
    winners = race(lambda number: bench.store.put(key, b"%02d" % number))
    expect(winners == 1, f"{winners} of {N_RACERS} simultaneous writers were told that they were first")
    return f"1 of {N_RACERS} simultaneous writers won"


def _promote(bench: Bench) -> str:
    data = os.urandom(LARGE_BYTES)
    key = bench.keep(data)
    stat = bench.store.stat(key)
    expect(stat is not None and stat.size_bytes == len(data), f"the blob is stored as {stat}")
    expect(hashlib.sha256(bench.store.read(key)).hexdigest() == key[-64:], "other bytes came back")
    return f"{len(data)} bytes staged, hashed, promoted, read back"


def _racing_promotions(bench: Bench) -> str:
    data = os.urandom(LARGE_BYTES)
    sha256 = hashlib.sha256(data).hexdigest()
    bench.made.append(blob_key(sha256))

    def promote(_: int) -> bool:
        with bench.store.stage(bench.stage_name()) as staged:
            staged.write(data)
            return bench.store.promote(staged, blob_key(sha256), sha256=sha256, size_bytes=len(data))

    with ThreadPoolExecutor(4) as pool:
        winners = sum(pool.map(promote, range(4)))
    expect(winners >= 1, "no writer was told that the blob is new")
    expect(bench.store.read(blob_key(sha256)) == data, "simultaneous writers spoilt the blob")
    expect(winners == 1, f"{winners} of 4 simultaneous writers were told that the blob is new")
    return "1 of 4 simultaneous writers made it"


def _wrong_digest(bench: Bench) -> str:
    wrong = hashlib.sha256(b"something else").hexdigest()
    with bench.store.stage(bench.stage_name()) as staged:
        staged.write(b"these bytes")
        try:
            bench.store.promote(staged, blob_key(wrong), sha256=wrong, size_bytes=11)
        except DigestMismatch:
            staged.discard()
        else:
            raise Lacking("bytes were stored under the digest of others")
    expect(bench.store.stat(blob_key(wrong)) is None, "refused bytes are visible")
    return "refused, nothing visible"


def _resume(bench: Bench) -> str:
    data, name = os.urandom(LARGE_BYTES), bench.stage_name()
    with bench.store.stage(name) as staged:
        staged.write(data)
        staged.checkpoint()
    with bench.store.stage(name) as resumed:
        kept = resumed.size_bytes
        resumed.write(data[kept:])
        is_same = resumed.finish().sha256 == hashlib.sha256(data).hexdigest()
        resumed.discard()
    expect(kept > 0, "nothing of an interrupted file was kept")
    expect(is_same, "a resumed file has another digest")
    return f"{kept} of {len(data)} bytes kept over an interruption"


def _ranges(bench: Bench) -> str:
    data = os.urandom(300_000)
    key = bench.keep(data)
    for start, length in ((0, 1), (299_999, 1), (100_000, 65_536), (0, 300_000)):
        expect(
            bench.store.read(key, start, length) == data[start : start + length], f"wrong bytes at {start}"
        )
    return "single bytes, 64 KiB, everything"


def _ranges_outside(bench: Bench) -> str:
    key = bench.keep(os.urandom(1000))
    for start, length in ((1000, 1), (1001, None), (0, 1001)):
        try:
            bench.store.open(key, start, length).close()
        except RangeError:
            continue
        raise Lacking(f"bytes {start}+{length} of a 1000 byte object were given")
    return "refused"


def _missing(bench: Bench) -> str:
    key = blob_key(secrets.token_hex(32))
    expect(bench.store.stat(key) is None, "an object that was never written has a size")
    try:
        bench.store.read(key)
    except KeyMissing:
        return "reported as missing"
    raise Lacking("an object that was never written could be read")


def _list(bench: Bench) -> str:
    keys = sorted(bench.key(f"list-{number:02d}") for number in range(12))
    for key in keys:
        bench.store.put(key, b"x")
    seen = [stat.key for stat in bench.store.list(f"{bench.prefix}list-")]
    expect(seen == keys, f"{len(seen)} of 12 new objects were listed, or in another order")
    return "12 new objects seen at once, in order"


def _copy(bench: Bench) -> str:
    source, target = bench.keep(os.urandom(LARGE_BYTES)), bench.key("copy")
    expect(bench.store.copy(source, target), "the copy was reported as there before")
    with bench.store.open(target) as reader:
        digest = hashlib.file_digest(reader, "sha256").hexdigest()  # type: ignore[arg-type]
    expect(digest == source[-64:], "the copy has other bytes")
    return f"{LARGE_BYTES} bytes copied"


def _delete(bench: Bench) -> str:
    key = bench.key("delete")
    bench.store.put(key, b"x")
    bench.store.delete(key)
    bench.store.delete(key)
    expect(bench.store.stat(key) is None, "a deleted object is still there")
    return "gone at once; a second time is no error"


_BYTES = "Holdfast cannot keep bytes here."
COMMON = [
    Check("put and get", _put_and_get, _BYTES, "Check the URL, the credentials and the permissions."),
    Check(
        "put if absent",
        _put_if_absent,
        "Two workers could overwrite each other's manifests.",
        "Use a service or a version that honours If-None-Match: * (AWS, SeaweedFS, MinIO, Ceph 19, R2).",
    ),
    Check(
        "put if absent, 16 at once",
        _racing_puts,
        "Two workers could overwrite each other's manifests in the same instant.",
        "Use a service whose conditional writes are atomic.",
    ),
    Check("staging and promotion", _promote, _BYTES, "See the detail; then look at the service's log."),
    Check(
        "promotion, 4 at once",
        _racing_promotions,
        "Workers that store the same blob in the same instant may each count it as new. The bytes are right.",
        "Nothing to do; a service with atomic conditional completion avoids it.",
        is_needed=False,
    ),
    Check("wrong digest is refused", _wrong_digest, "Wrong bytes could be kept.", "Report this as a bug."),
    Check("resume after an interruption", _resume, "Interrupted downloads start again.", "See the detail."),
    Check("byte ranges", _ranges, "Headers cannot be read without the whole file.", "Use another service."),
    Check(
        "ranges outside are refused", _ranges_outside, "Truncated objects go unnoticed.", "See the detail."
    ),
    Check(
        "missing objects are told",
        _missing,
        "Lost bytes go unnoticed.",
        "Let the credentials list the bucket.",
    ),
    Check("listing", _list, "Audits and sweeps see a wrong picture.", "Let the credentials list the bucket."),
    Check("copy inside the store", _copy, "Damaged blobs cannot be set aside.", "See the detail."),
    Check("delete", _delete, "Staged leftovers pile up.", "Let the credentials delete objects."),
]
