"""Digests are computed behind the writer, of what the file really holds."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.blobs.hashing import CHUNK_BYTES, INLINE_BYTES, Digester, FileFollower
from registry.git import git_blob_oid

SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + CHUNK_BYTES + 5]


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_a_git_oid_is_what_git_computes(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    digester = Digester(len(data))
    for piece in pieces:
        digester.update(piece)
    digests = digester.digests()
    assert digests.sha256 == hashlib.sha256(data).hexdigest()
    assert digests.git_oid == git_blob_oid(data)


@pytest.mark.parametrize("size", SIZES)
def test_a_growing_file_is_hashed_whatever_its_size(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        follower = FileFollower(file.fileno(), None)
        for start in range(0, size, 300_000):
            file.write(data[start : start + 300_000])
            follower.grew(min(start + 300_000, size))
        digests = follower.finish(size, None)
        follower.stop()
    assert (digests.sha256, digests.size_bytes) == (hashlib.sha256(data).hexdigest(), size)


def test_a_file_that_shrinks_while_it_is_hashed_is_an_error_not_a_digest(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        file.write(bytes(INLINE_BYTES))
        follower = FileFollower(file.fileno(), None)
        with pytest.raises(OSError, match="truncated"):
            follower.finish(2 * INLINE_BYTES, None)
        follower.stop()
