"""Bytes that come in parts, in any order and again, are one blob in the end, or none."""

import hashlib
import os
import urllib.error
import urllib.request

import pytest

from mirror.blobs import BlobStore
from mirror.blobs.store import DigestMismatch, StagedBusy, StagedIncomplete, StagedPart, StoreError, blob_key

MIB = 1 << 20
DATA = os.urandom(11 * MIB + 7)
SHA256 = hashlib.sha256(DATA).hexdigest()
PARTS = [StagedPart(1, 0, 5 * MIB), StagedPart(2, 5 * MIB, 5 * MIB), StagedPart(3, 10 * MIB, MIB + 7)]


def piece(part: StagedPart) -> bytes:
    return DATA[part.start : part.start + part.size_bytes]


def send(store: BlobStore, part: StagedPart, data: bytes | None = None) -> None:
    """As a client would: to the store's own URL if it has one."""
    body = piece(part) if data is None else data
    url = store.presign_part("up", part, seconds=60)
    if url is None:
        store.write_part("up", part, iter([body[:1000], body[1000:]]))
        return
    with urllib.request.urlopen(urllib.request.Request(url, body, method="PUT")) as answer:
        assert answer.headers["ETag"]


def test_parts_in_any_order_and_again_are_one_blob(store: BlobStore) -> None:
    for number in (2, 0, 1, 0):
        send(store, PARTS[number])
    with store.gather("up", PARTS) as staged:
        assert staged.finish().sha256 == SHA256
        assert store.promote(staged, blob_key(SHA256), sha256=SHA256, size_bytes=len(DATA))
    assert store.read(blob_key(SHA256)) == DATA
    assert list(store.staged_names()) == []


def test_parts_that_we_take_ourselves_are_the_same(store: BlobStore) -> None:
    for part in PARTS:
        store.write_part("up", part, [piece(part)])
    with store.gather("up", PARTS) as staged:
        assert store.promote(staged, blob_key(SHA256), sha256=SHA256, size_bytes=len(DATA))
    assert store.read(blob_key(SHA256)) == DATA


def test_a_part_that_is_missing_is_named_and_the_others_stay(store: BlobStore) -> None:
    send(store, PARTS[0])
    with pytest.raises(StagedIncomplete, match="part 2") as missing:
        store.gather("up", PARTS)
    assert missing.value.number == 2
    send(store, PARTS[1])
    send(store, PARTS[2])
    store.gather("up", PARTS).close()


def test_wrong_bytes_are_no_blob(store: BlobStore) -> None:
    for part in PARTS:
        send(store, part)
    send(store, PARTS[1], piece(PARTS[1])[::-1])
    with store.gather("up", PARTS) as staged:
        with pytest.raises(DigestMismatch):
            store.promote(staged, blob_key(SHA256), sha256=SHA256, size_bytes=len(DATA))
        staged.discard()
    assert store.stat(blob_key(SHA256)) is None
    assert list(store.staged_names()) == []


def test_nobody_changes_a_part_after_it_was_hashed(store: BlobStore) -> None:
    for part in PARTS:
        send(store, part)
    with store.gather("up", PARTS) as staged:
        staged.finish()
        try:
            send(store, PARTS[0], bytes(5 * MIB))
        except StagedBusy:
            assert store.name == "directory"
        else:  # its URL is still good: then the copy must notice
            with pytest.raises(StoreError):
                store.promote(staged, blob_key(SHA256), sha256=SHA256, size_bytes=len(DATA))
            return
        assert store.promote(staged, blob_key(SHA256), sha256=SHA256, size_bytes=len(DATA))
    assert store.read(blob_key(SHA256)) == DATA


def test_a_part_that_comes_too_late_touches_no_blob(store: BlobStore) -> None:
    for part in PARTS:
        send(store, part)
    with store.gather("up", PARTS) as staged:
        store.promote(staged, blob_key(SHA256), sha256=SHA256, size_bytes=len(DATA))
    send(store, PARTS[0], bytes(5 * MIB))
    assert store.read(blob_key(SHA256)) == DATA


def test_a_url_for_a_part_takes_no_more_than_the_part(s3_store: BlobStore) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        send(s3_store, PARTS[2], DATA)
