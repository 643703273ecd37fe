"""What a store survives: SIGKILL at any instant, a full disk, an answer that was lost on the way."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.blobs import BlobStore, store_from_url
from mirror.blobs.store import OutOfSpace, StagedBusy, StoreError, blob_key
from tests.services.deployment import ROOT

MIB = 1 << 20
PAYLOAD = random.Random(7).randbytes(17 * MIB + 99)
SHA256 = hashlib.sha256(PAYLOAD).hexdigest()
KEY = blob_key(SHA256)


@pytest.fixture(scope="module")
def payload_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("payload") / "payload"
    file.write_bytes(PAYLOAD)
    return file


def start_writer(url: str, file: Path, *, wrapper: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    command = [*wrapper, sys.executable, "-m", "tests.mirror.blobs.writer", url, str(file)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def kill_after(writer: "subprocess.Popen[str]", size_bytes: int) -> None:
    """SIGKILL as soon as it says that it has written so much."""
    assert writer.stdout is not None
    for line in writer.stdout:
        if line.startswith("written") and int(line.split()[1]) >= size_bytes:
            break
    writer.kill()
    writer.communicate()


def test_a_writer_killed_again_and_again_ends_with_the_right_blob(store_url: str, payload_file: Path) -> None:
    """Promise: SIGKILL loses at most what was not durable, and never shows a half or wrong blob."""
    store = store_from_url(store_url)
    for megabytes in (3, 8, 13, 17):
        kill_after(start_writer(store_url, payload_file), megabytes * MIB)
        assert store.stat(KEY) is None or store.read(KEY) == PAYLOAD
    output, errors = start_writer(store_url, payload_file).communicate(timeout=120)
    assert output.splitlines()[-1] in {"new", "held"}, errors
    assert int(output.split()[1]) >= 10 * MIB, "nothing was kept from the earlier lives"
    assert store.read(KEY) == PAYLOAD
    assert list(store.staged_names()) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_at_a_random_instant_never_shows_a_wrong_blob(
    store_url: str, payload_file: Path, seed: int
) -> None:
    store = store_from_url(store_url)
    writer = start_writer(store_url, payload_file)
    assert writer.stdout is not None
    writer.stdout.readline()
    try:
        writer.wait(random.Random(seed).uniform(0, 0.5))
    except subprocess.TimeoutExpired:
        writer.kill()
    writer.communicate()
    assert store.stat(KEY) is None or store.read(KEY) == PAYLOAD
    start_writer(store_url, payload_file).communicate(timeout=120)
    assert store.read(KEY) == PAYLOAD
    assert [stat.key for stat in store.list("")] == [KEY]


def test_a_promotion_cut_between_its_steps_is_completed_by_the_next(tmp_path: Path) -> None:
    """The staged name still points at the blob's own file: it is handed out sealed, and promoted again."""
    store = store_from_url(f"file://{tmp_path}")
    with store.stage("in") as staged:
        staged.write(PAYLOAD)
        staged.finish()
    final = tmp_path / KEY
    final.parent.mkdir(parents=True)
    os.link(tmp_path / "incoming/in", final)
    final.chmod(0o444)
    with store.stage("in") as resumed:
        assert resumed.size_bytes == len(PAYLOAD)
        with pytest.raises(Exception, match="takes no more"):
            resumed.write(b"x")
        assert store.promote(resumed, KEY, sha256=SHA256, size_bytes=len(PAYLOAD)) is False
    assert store.read(KEY) == PAYLOAD
    assert list(store.staged_names()) == []


def test_a_second_writer_of_a_staged_file_is_told_to_wait(tmp_path: Path) -> None:
    store = store_from_url(f"file://{tmp_path}")
    with store.stage("in") as staged:
        staged.write(b"mine")
        with pytest.raises(StagedBusy) as caught:
            store.stage("in")
        assert caught.value.retryable
    with store.stage("in") as resumed:
        assert resumed.size_bytes == 4


def test_two_writers_of_one_staged_name_in_a_bucket_never_mix_their_bytes(s3_store: BlobStore) -> None:
    other = PAYLOAD[::-1]
    with s3_store.stage("in") as one, s3_store.stage("in") as two:
        for start in range(0, len(PAYLOAD), MIB):
            one.write(PAYLOAD[start : start + MIB])
            two.write(other[start : start + MIB])
        assert one.finish().sha256 == SHA256
        assert s3_store.promote(one, KEY, sha256=SHA256, size_bytes=len(PAYLOAD))
    assert s3_store.read(KEY) == PAYLOAD


def test_a_writer_whose_parts_another_one_removed_is_told_to_run_again(s3_store: BlobStore) -> None:
    with s3_store.stage("in") as one, s3_store.stage("in") as two:
        for staged in (one, two):
            staged.write(PAYLOAD)
            staged.finish()
        two.discard()
        with pytest.raises(StoreError) as caught:
            s3_store.promote(one, KEY, sha256=SHA256, size_bytes=len(PAYLOAD))
        assert (caught.value.code, caught.value.retryable) == ("staged-lost", True)
    assert list(s3_store.list("")) == []


# --- a full disk -----------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; needs root."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tiny file system needs root; the file size limit is tested instead")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_as_such_and_continued_once_there_is_room(tiny_disk: Path) -> None:
    store = store_from_url(f"file://{tiny_disk}/store")
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(3 * MIB))
    data = PAYLOAD[: 2 * MIB]
    with store.stage("in") as staged, pytest.raises(OutOfSpace, match="no space left") as caught:
        staged.write(data)
    assert caught.value.retryable
    assert list(store.list("")) == []
    ballast.unlink()
    with store.stage("in") as resumed:
        assert resumed.size_bytes > 0
        resumed.write(data[resumed.size_bytes :])
        digest = hashlib.sha256(data).hexdigest()
        assert store.promote(resumed, blob_key(digest), sha256=digest, size_bytes=len(data))
    assert store.read(blob_key(digest)) == data


def test_a_file_size_limit_is_told_as_out_of_space(tmp_path: Path, payload_file: Path) -> None:
    url = f"file://{tmp_path}/store"
    limited = ("prlimit", f"--fsize={4 * MIB}")
    _, errors = start_writer(url, payload_file, wrapper=limited).communicate(timeout=60)
    assert "OutOfSpace" in errors
    assert "file size limit" in errors
    assert [stat.size_bytes for stat in store_from_url(url).staged_names()] == [4 * MIB]
    output, _ = start_writer(url, payload_file).communicate(timeout=60)
    assert output.startswith(f"resumed {4 * MIB}\n")
    assert store_from_url(url).read(KEY) == PAYLOAD


def test_a_staged_part_that_rotted_is_noticed_when_it_is_resumed(tmp_path: Path) -> None:
    store = store_from_url(f"file://{tmp_path}")
    with store.stage("in") as staged:
        staged.write(PAYLOAD[: 8 * MIB])
    with (tmp_path / "incoming/in").open("r+b") as file:
        file.seek(MIB)
        file.write(b"rot")
    with store.stage("in") as resumed:
        resumed.write(PAYLOAD[8 * MIB :])
        with pytest.raises(Exception, match="expected sha256"):
            store.promote(resumed, KEY, sha256=SHA256, size_bytes=len(PAYLOAD))
    assert store.stat(KEY) is None
