"""The conformance suite: what every store promises, proven on each of them with real disks and a real server."""

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirror.blobs import BlobStore, store_from_url
from mirror.blobs.store import (
    DigestMismatch,
    InvalidKey,
    KeyMissing,
    RangeError,
    StagedGone,
    StoreError,
    Tail,
    blob_key,
    manifest_key,
)

MIB = 1 << 20
PAYLOAD = os.urandom(12 * MIB + 4321)
"""Three parts of 5 MiB on S3, more than the inline limit of the directory store."""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keep(store: BlobStore, data: bytes, name: str = "in") -> str:
    """Stores the data as a blob; its key."""
    key = blob_key(sha256(data))
    with store.stage(name) as staged:
        staged.write(data)
        store.promote(staged, key, sha256=sha256(data), size_bytes=len(data))
    return key


# --- in: staging and promotion ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"x", PAYLOAD[: 5 * MIB], PAYLOAD], ids=["empty", "byte", "part", "parts"]
)
def test_staged_bytes_become_a_blob_and_leave_nothing_behind(store: BlobStore, data: bytes) -> None:
    key = keep(store, data)
    assert store.read(key) == data
    stat = store.stat(key)
    assert stat is not None
    assert (stat.key, stat.size_bytes) == (key, len(data))
    assert abs(datetime.now(UTC) - stat.modified_at) < timedelta(minutes=5)
    assert list(store.staged_names()) == []


def test_staged_bytes_are_read_behind_their_writer(store: BlobStore) -> None:
    tail = store.tail("in")
    assert tail.size_bytes() == 0
    with store.stage("in") as staged:
        staged.write(PAYLOAD)
        staged.checkpoint()
        seen = tail.size_bytes()
        assert 10 * MIB <= seen <= len(PAYLOAD)
        assert read_tail(tail, 0, seen) == PAYLOAD[:seen]
        assert read_tail(tail, 5 * MIB - 3, 7) == PAYLOAD[5 * MIB - 3 : 5 * MIB + 4]
        staged.discard()
    with store.stage("in") as staged:
        staged.write(PAYLOAD[::-1])
        staged.checkpoint()
        with pytest.raises(StagedGone):
            tail.size_bytes()
    tail.close()
    tail.close()


def test_a_tail_survives_promotion_or_says_that_it_did_not(store: BlobStore) -> None:
    with store.stage("in") as staged:
        staged.write(PAYLOAD)
        staged.checkpoint()
        tail = store.tail("in")
        seen = tail.size_bytes()
        store.promote(staged, blob_key(sha256(PAYLOAD)), sha256=sha256(PAYLOAD), size_bytes=len(PAYLOAD))
    try:
        assert tail.size_bytes() >= seen
        assert read_tail(tail, 0, seen) == PAYLOAD[:seen]
    except StagedGone:
        assert store.stat(blob_key(sha256(PAYLOAD)))
    tail.close()


def read_tail(tail: Tail, start: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += tail.read(start + len(data), length - len(data))
    return data


def test_nothing_is_visible_before_promotion(store: BlobStore) -> None:
    with store.stage("in") as staged:
        staged.write(PAYLOAD)
        staged.finish()
        assert list(store.list("")) == []
        assert store.stat(blob_key(sha256(PAYLOAD))) is None


def test_digests_are_those_of_all_bytes_whatever_the_write_sizes(store: BlobStore) -> None:
    with store.stage("in", git_size=len(PAYLOAD)) as staged:
        position = 0
        for size in (1, 65_536, 3 * MIB + 7, 5 * MIB, len(PAYLOAD)):
            staged.write(memoryview(PAYLOAD)[position : position + size])
            position = min(position + size, len(PAYLOAD))
            assert staged.size_bytes == position
        digests = staged.finish()
    assert digests.sha256 == sha256(PAYLOAD)
    assert digests.size_bytes == len(PAYLOAD)
    assert digests.git_oid == hashlib.sha1(b"blob %d\0" % len(PAYLOAD) + PAYLOAD).hexdigest()


def test_a_git_oid_is_not_claimed_for_another_size_than_announced(store: BlobStore) -> None:
    with store.stage("in", git_size=5) as staged:
        staged.write(b"four")
        assert staged.finish().git_oid is None


def test_a_buffer_may_be_reused_as_soon_as_write_returns(store: BlobStore) -> None:
    buffer = bytearray(MIB)
    expected = hashlib.sha256()
    with store.stage("in") as staged:
        for value in range(12):
            buffer[:] = bytes([value]) * MIB
            expected.update(buffer)
            staged.write(memoryview(buffer))
        assert staged.finish().sha256 == expected.hexdigest()


@pytest.mark.parametrize("size", [1000, len(PAYLOAD)], ids=["small", "large"])
def test_a_wrong_digest_is_refused_and_nothing_is_stored(store: BlobStore, size: int) -> None:
    wrong = sha256(b"something else")
    with store.stage("in") as staged:
        staged.write(PAYLOAD[:size])
        with pytest.raises(DigestMismatch) as caught:
            store.promote(staged, blob_key(wrong), sha256=wrong, size_bytes=size)
        assert wrong in caught.value.expected
        assert sha256(PAYLOAD[:size]) in caught.value.actual
        assert list(store.list("")) == []
        staged.discard()
    assert list(store.staged_names()) == []


def test_a_wrong_size_is_refused_even_if_the_digest_is_right(store: BlobStore) -> None:
    with store.stage("in") as staged:
        staged.write(b"abc")
        with pytest.raises(DigestMismatch, match="4 bytes"):
            store.promote(staged, blob_key(sha256(b"abc")), sha256=sha256(b"abc"), size_bytes=4)
    assert list(store.list("")) == []


def test_bytes_are_never_promoted_to_the_blob_key_of_others(store: BlobStore) -> None:
    with store.stage("in") as staged:
        staged.write(b"abc")
        with pytest.raises(DigestMismatch):
            store.promote(staged, blob_key(sha256(b"abd")), sha256=sha256(b"abc"), size_bytes=3)
    assert list(store.list("")) == []


@pytest.mark.parametrize("size", [1000, len(PAYLOAD)], ids=["small", "large"])
def test_promoting_what_is_held_is_success_but_not_new(store: BlobStore, size: int) -> None:
    data = PAYLOAD[:size]
    key = blob_key(sha256(data))
    for attempt in range(2):
        with store.stage("in") as staged:
            staged.write(data)
            assert store.promote(staged, key, sha256=sha256(data), size_bytes=size) is (attempt == 0)
    assert store.read(key) == data
    assert list(store.staged_names()) == []


@pytest.mark.parametrize(("n_writers", "size"), [(16, 1000), (8, 6 * MIB)], ids=["small", "large"])
def test_of_many_writers_of_one_blob_one_made_it_and_all_succeed(
    store: BlobStore, n_writers: int, size: int
) -> None:
    """Promise: put-if-absent. SeaweedFS checks If-None-Match of a multipart completion just before it completes, so
    there a few simultaneous writers of the same bytes may each be told that they were first."""
    data, barrier = PAYLOAD[:size], Barrier(n_writers)
    key = blob_key(sha256(data))

    def race(number: int) -> bool:
        with store.stage(f"racer-{number}") as staged:
            staged.write(data)
            staged.finish()
            barrier.wait(60)
            return store.promote(staged, key, sha256=sha256(data), size_bytes=size)

    with ThreadPoolExecutor(n_writers) as pool:
        n_told_new = sum(pool.map(race, range(n_writers)))
    assert n_told_new == 1 or (store.name == "s3" and size > 5 * MIB and n_told_new > 1)
    assert store.read(key) == data
    assert list(store.staged_names()) == []


def test_a_finished_stage_takes_no_more_bytes(store: BlobStore) -> None:
    with store.stage("in") as staged:
        staged.write(b"all")
        assert staged.finish() == staged.finish()
        with pytest.raises(StoreError, match="takes no more"):
            staged.write(b" and more")


def test_a_closed_stage_says_so(store: BlobStore) -> None:
    with store.stage("in") as staged:
        staged.write(b"x")
    staged.close()
    with pytest.raises(StoreError, match="was closed"):
        staged.write(b"y")


def test_discard_is_idempotent_and_frees_the_name(store: BlobStore) -> None:
    staged = store.stage("in")
    staged.write(PAYLOAD)
    staged.checkpoint()
    assert [stat.key for stat in store.staged_names()] == ["incoming/in"]
    staged.discard()
    staged.discard()
    assert list(store.staged_names()) == []
    with store.stage("in") as again:
        assert again.size_bytes == 0


# --- resuming --------------------------------------------------------------------------------------------------


def test_a_closed_stage_is_resumed_where_it_was_durable_and_hashed_again(store: BlobStore) -> None:
    with store.stage("in") as staged:
        staged.write(PAYLOAD[: 11 * MIB])
        durable = staged.checkpoint()
    assert 10 * MIB <= durable <= 11 * MIB
    with store.stage("in", git_size=len(PAYLOAD)) as resumed:
        assert durable <= resumed.size_bytes <= 11 * MIB
        resumed.write(PAYLOAD[resumed.size_bytes :])
        digests = resumed.finish()
        assert digests.sha256 == sha256(PAYLOAD)
        assert digests.git_oid is not None
        assert store.promote(
            resumed, blob_key(digests.sha256), sha256=digests.sha256, size_bytes=len(PAYLOAD)
        )
    assert store.read(blob_key(sha256(PAYLOAD))) == PAYLOAD


def test_a_stage_closed_after_finish_is_resumed_and_promoted(store: BlobStore) -> None:
    with store.stage("in") as staged:
        staged.write(PAYLOAD)
        staged.finish()
    with store.stage("in") as resumed:
        resumed.write(PAYLOAD[resumed.size_bytes :])
        assert store.promote(
            resumed, blob_key(sha256(PAYLOAD)), sha256=sha256(PAYLOAD), size_bytes=len(PAYLOAD)
        )


def test_a_stage_resumed_many_times_has_the_digest_of_all_its_bytes(store: BlobStore) -> None:
    position = 0
    for end in (6 * MIB, 11 * MIB, len(PAYLOAD)):
        with store.stage("in") as staged:
            position = staged.size_bytes
            staged.write(PAYLOAD[position:end])
            if end == len(PAYLOAD):
                assert staged.finish().sha256 == sha256(PAYLOAD)


def test_finish_reports_how_far_hashing_is_and_can_be_given_up(store: BlobStore) -> None:
    with store.stage("in") as staged:
        staged.write(PAYLOAD)
        staged.checkpoint()

    def give_up(_: int) -> None:
        raise LookupError

    with store.stage("in") as resumed:
        resumed.write(PAYLOAD[resumed.size_bytes :])
        with pytest.raises(LookupError):
            resumed.finish(give_up)
        assert resumed.finish().sha256 == sha256(PAYLOAD)
    reports: list[int] = []
    with store.stage("in") as resumed:
        resumed.write(PAYLOAD[resumed.size_bytes :])
        assert resumed.finish(reports.append).sha256 == sha256(PAYLOAD)
    assert reports
    assert reports[-1] == len(PAYLOAD)


# --- out: ranges -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 0), (0, 1), (0, None), (5, 0), (5, 3), (99, 1), (100, 0), (100, None), (37, None)],
)
def test_a_range_is_exactly_the_bytes_asked_for(store: BlobStore, start: int, length: int | None) -> None:
    data = bytes(range(100))
    key = keep(store, data)
    expected = data[start:] if length is None else data[start : start + length]
    assert store.read(key, start, length) == expected
    with store.open(key, start, length) as reader:
        assert reader.read(-1) == expected
        assert reader.read(10) == b""


@pytest.mark.parametrize(
    ("start", "length"), [(0, 101), (100, 1), (101, None), (101, 0), (-1, None), (-1, 5), (5, -1), (50, 51)]
)
def test_a_range_outside_the_object_is_refused(store: BlobStore, start: int, length: int | None) -> None:
    key = keep(store, bytes(range(100)))
    with pytest.raises(RangeError) as caught:
        store.open(key, start, length)
    assert caught.value.size_bytes == 100


def test_an_empty_object_has_one_range(store: BlobStore) -> None:
    key = keep(store, b"")
    assert store.read(key) == store.read(key, 0, 0) == store.read(key, 0, None) == b""
    with pytest.raises(RangeError):
        store.open(key, 0, 1)


def test_reading_what_is_not_there_says_so(store: BlobStore) -> None:
    key = blob_key("0" * 64)
    for start, length in ((0, None), (5, 10), (0, 0)):
        with pytest.raises(KeyMissing) as caught:
            store.open(key, start, length)
        assert caught.value.key == key
    assert store.stat(key) is None


def test_small_reads_through_a_large_object_lose_nothing(store: BlobStore) -> None:
    key = keep(store, PAYLOAD)
    digest = hashlib.sha256()
    with store.open(key) as reader:
        while piece := reader.read(77_777):
            digest.update(piece)
    assert digest.hexdigest() == sha256(PAYLOAD)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), content=st.binary(max_size=300))
def test_any_range_of_any_object_equals_the_slice(
    store: BlobStore, data: st.DataObject, content: bytes
) -> None:
    key = keep(store, content)
    start = data.draw(st.integers(0, len(content)))
    length = data.draw(st.one_of(st.none(), st.integers(0, len(content) - start)))
    expected = content[start:] if length is None else content[start : start + length]
    assert store.read(key, start, length) == expected


def test_many_readers_of_one_object_do_not_disturb_each_other(store: BlobStore) -> None:
    key = keep(store, PAYLOAD)
    starts = range(0, len(PAYLOAD) - 1000, len(PAYLOAD) // 32)
    with ThreadPoolExecutor(16) as pool:
        pieces = list(pool.map(lambda start: store.read(key, start, 1000), starts))
    assert pieces == [PAYLOAD[start : start + 1000] for start in starts]


# --- small objects, copies, listing, deleting ------------------------------------------------------------------


def test_put_keeps_the_first_and_tells_the_second(store: BlobStore) -> None:
    key = manifest_key("org/name", COMMIT)
    assert store.put(key, b"first") is True
    assert store.put(key, b"first") is False
    assert store.read(key) == b"first"


def test_put_of_another_size_under_a_taken_key_is_refused(store: BlobStore) -> None:
    key = manifest_key("org/name", COMMIT)
    store.put(key, b"first")
    with pytest.raises(StoreError) as caught:
        store.put(key, b"the second")
    assert caught.value.code == "stored-differs"
    assert store.read(key) == b"first"


def test_put_replaces_only_when_told_and_never_a_blob(store: BlobStore) -> None:
    store.put("catalog/head.json", b"1")
    assert store.put("catalog/head.json", b"22", replace=True) is False
    assert store.put("catalog/new.json", b"3", replace=True) is True
    assert store.read("catalog/head.json") == b"22"
    with pytest.raises(InvalidKey, match="never replaced"):
        store.put(blob_key(sha256(b"1")), b"1", replace=True)


def test_put_under_a_blob_key_proves_the_digest(store: BlobStore) -> None:
    assert store.put(blob_key(sha256(b"abc")), b"abc") is True
    with pytest.raises(DigestMismatch):
        store.put(blob_key(sha256(b"abc")), b"abd")
    with pytest.raises(DigestMismatch):
        store.put("blobs/sha256/elsewhere", b"abc")


def test_of_sixteen_puts_under_one_key_exactly_one_wins(store: BlobStore) -> None:
    barrier = Barrier(16)

    def race(number: int) -> bool:
        barrier.wait(60)
        return store.put("catalog/race", b"%02d" % number)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(race, range(16)))
    assert sum(won) == 1
    assert store.read("catalog/race") == b"%02d" % won.index(True)


@pytest.mark.parametrize("size", [0, 10, len(PAYLOAD)], ids=["empty", "small", "large"])
def test_a_copy_is_put_if_absent_and_survives_its_source(store: BlobStore, size: int) -> None:
    source = keep(store, PAYLOAD[:size])
    assert store.copy(source, "quarantine/one") is True
    assert store.copy(source, "quarantine/one") is False
    store.delete(source)
    assert store.read("quarantine/one") == PAYLOAD[:size]


def test_a_copy_needs_a_source_and_never_makes_a_blob(store: BlobStore) -> None:
    with pytest.raises(KeyMissing):
        store.copy(blob_key("0" * 64), "quarantine/one")
    key = keep(store, b"abc")
    with pytest.raises(InvalidKey, match="promotion"):
        store.copy(key, blob_key("0" * 64))


def test_delete_is_idempotent(store: BlobStore) -> None:
    key = keep(store, b"abc")
    store.delete(key)
    store.delete(key)
    assert store.stat(key) is None
    assert keep(store, b"abc") == key


def test_blobs_are_listed_in_ascending_order(store: BlobStore) -> None:
    keys = sorted(keep(store, b"%d" % number) for number in range(40))
    assert [stat.key for stat in store.list("blobs/")] == keys
    assert all(earlier < later for earlier, later in pairwise(keys))


def test_listing_is_by_prefix_and_without_staged_bytes(store: BlobStore) -> None:
    keys = sorted(["a/b.json", "a/b/c", "a/b0", "a-b", "ab", "blobs-not", "z/y/x", "z/y.x", "z/yy"])
    for key in keys:
        store.put(key, key.encode())
    staged = store.stage("in")
    staged.write(PAYLOAD)
    staged.checkpoint()
    assert sorted(stat.key for stat in store.list("")) == keys
    for prefix in ("a", "a/", "a/b", "a/b/", "z/y", "nothing", "blobs/", "incoming/"):
        listed = sorted(stat.key for stat in store.list(prefix))
        assert listed == [key for key in keys if key.startswith(prefix)]
    assert [stat.size_bytes for stat in store.list("z/yy")] == [4]
    staged.discard()


def test_listing_goes_beyond_one_page(store: BlobStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"many/{number:05d}", b"x"), range(1100)))
    assert [stat.key for stat in store.list("many/")] == [f"many/{number:05d}" for number in range(1100)]


# --- sweeping --------------------------------------------------------------------------------------------------


def test_only_what_was_abandoned_long_enough_is_swept(store: BlobStore) -> None:
    with store.stage("old") as staged:
        staged.write(PAYLOAD)
        staged.checkpoint()
    kept = keep(store, b"a blob")
    long_ago, soon = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(minutes=1)
    assert list(store.discard_abandoned(long_ago)) == []
    assert [stat.key for stat in store.discard_abandoned(soon)] == ["incoming/old"]
    assert list(store.staged_names()) == []
    assert store.read(kept) == b"a blob"


# --- URLs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x", "file://", "file:///", "file://host/x", "file:///x?a=b", "s3://", "s3://b?endpoint=host", "s3://b?regoin=x",
     "s3://b?uploads=0", "s3://b?uploads=x", "s3://b?part_mib=1", "s3://b?addressing=diagonal", "s3://b/../x"],
)  # fmt: skip
def test_a_store_url_that_is_wrong_is_refused_with_the_remedy(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        store_from_url(url)
    assert caught.value.code in {"bad-store-url", "invalid-key"}


def test_a_store_knows_its_kind(store: BlobStore, store_url: str) -> None:
    assert store.name == ("directory" if store_url.startswith("file:") else "s3")
    assert "testsecret" not in repr(store)


def test_readers_are_plain_binary_files(store: BlobStore) -> None:
    with store.open(keep(store, b"one\ntwo\n")) as reader:
        assert isinstance(reader, io.BufferedIOBase)
        assert list(reader) == [b"one\n", b"two\n"]
