"""What only a store in a directory promises: plain read-only files that outlive this program."""

import hashlib
import os
import stat as modes
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mirror.blobs.directory import DirectoryStore
from mirror.blobs.store import StoredDiffers, StoreError, blob_key
from tests.mirror.blobs.test_store import keep

DATA = os.urandom(100_000)
KEY = blob_key(hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def test_a_blob_is_a_plain_read_only_file_under_its_key(store: DirectoryStore) -> None:
    keep(store, DATA)
    file = store.root / KEY
    assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name
    assert modes.S_IMODE(file.stat().st_mode) == 0o444
    assert file.stat().st_nlink == 1
    assert store.local_path(KEY) == file
    assert store.local_path(blob_key("0" * 64)) is None


def test_a_directory_has_no_urls_of_its_own(store: DirectoryStore) -> None:
    keep(store, DATA)
    assert store.presign(KEY, seconds=60) is None


def test_making_a_store_touches_nothing(store: DirectoryStore) -> None:
    assert list(store.list("")) == list(store.staged_names()) == []
    assert not store.root.exists()


def test_foreign_and_hidden_files_and_links_are_not_listed(store: DirectoryStore, tmp_path: Path) -> None:
    keep(store, DATA)
    (tmp_path / "secret").write_text("outside")
    (store.root / "blobs/link").symlink_to(tmp_path / "secret")
    (store.root / "blobs/folder").symlink_to(tmp_path)
    (store.root / ".DS_Store").write_text("hidden")
    (store.root / "blobs/not a key").write_text("foreign")
    (store.incoming / "not a name").write_text("foreign")
    assert [stat.key for stat in store.list("")] == [KEY]
    assert list(store.discard_abandoned(datetime.now(UTC) + timedelta(days=1))) == []
    assert (store.incoming / "not a name").exists()


def test_a_link_that_leads_outside_is_never_followed(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    (store.root / "incoming").mkdir(parents=True)
    (store.root / "catalog").symlink_to(tmp_path / "secret")
    (store.root / "incoming/in").symlink_to(tmp_path / "secret")
    assert store.stat("catalog") is None
    with pytest.raises(StoreError):
        store.read("catalog")
    with pytest.raises(StoreError):
        store.stage("in")
    assert (tmp_path / "secret").read_text() == "outside"


def test_a_damaged_blob_of_another_size_is_told_and_left_alone(store: DirectoryStore) -> None:
    keep(store, DATA)
    os.truncate(store.root / KEY, 5)
    with pytest.raises(StoredDiffers, match="audit --repair") as caught:
        keep(store, DATA)
    assert (caught.value.expected_bytes, caught.value.actual_bytes) == (len(DATA), 5)
    assert (store.root / KEY).stat().st_size == 5


def test_a_root_that_cannot_be_made_is_told_with_its_path() -> None:
    with pytest.raises(StoreError, match="/proc/holdfast/incoming/in"):
        DirectoryStore("/proc/holdfast").stage("in")


def test_staging_leaves_no_thread_or_handle_behind(store: DirectoryStore) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(5):
        with store.stage(f"in-{number}") as staged:
            staged.write(bytes(6 << 20))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "blob-hash"]


def test_a_reader_keeps_its_bytes_when_the_blob_is_deleted(store: DirectoryStore) -> None:
    keep(store, DATA)
    with store.open(KEY) as reader:
        first = reader.read(10)
        store.delete(KEY)
        assert first + reader.read() == DATA
