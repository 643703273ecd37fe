"""One file from a hub that misbehaves: it arrives whole and proven, or nothing of it stays."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.blobs.directory import DirectoryStore
from mirror.blobs.store import blob_key
from mirror.fetch import Fetched, Halt, Stopped, fetch_file
from mirror.upstream.base import RemoteCommit, RemoteFile, UpstreamUnavailable, WrongBytes
from mirror.upstream.http import Timeouts
from mirror.upstream.huggingface import HuggingFace
from registry.git import git_blob_oid
from tests.services.hub import Hub

WEIGHTS = bytes(range(256)) * 20_000
FILES = {"config.json": b'{"a": 1}', "empty": b"", "model.safetensors": WEIGHTS}
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        running.add("org/model", FILES)
        yield running


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "blobs")


class Fetching:
    """Fetches one file of the hub and counts what it is told."""

    def __init__(self, hub: Hub, store: DirectoryStore) -> None:
        self.hub, self.store = hub, store
        self.client = HuggingFace(hub.url, timeouts=Timeouts(connect_seconds=1, read_seconds=0.5))
        self.commit = RemoteCommit("org/model", hub.repos["org/model"].branches["main"])
        listed = self.client.list_files("org/model", self.commit.commit_hash)
        self.files = {file.path: file for file in listed}
        self.halt = Halt()
        self.bytes_seen = 0

    def fetch(self, path: str = "model.safetensors", file: RemoteFile | None = None) -> Fetched:
        return fetch_file(
            self.client, self.store, self.commit, file or self.files[path],
            stage_name="one", on_bytes=self.count, halt=self.halt,
        )  # fmt: skip

    def count(self, n_bytes: int) -> None:
        self.bytes_seen += n_bytes

    def ranges(self) -> list[str]:
        return [seen.headers.get("range", "") for seen in self.hub.seen("resolve", "model.safetensors")]

    @property
    def staged_bytes(self) -> int:
        return sum(stat.size_bytes for stat in self.store.staged_names())


@pytest.fixture
def fetching(hub: Hub, store: DirectoryStore) -> Fetching:
    return Fetching(hub, store)


def nothing_stays(fetching: Fetching) -> bool:
    return list(fetching.store.list("blobs/")) == [] and fetching.staged_bytes == 0


@pytest.mark.parametrize("path", FILES)
def test_a_file_is_stored_under_its_sha256_and_nothing_stays_staged(fetching: Fetching, path: str) -> None:
    fetched = fetching.fetch(path)
    assert fetched.sha256 == hashlib.sha256(FILES[path]).hexdigest()
    assert fetching.store.read(blob_key(fetched.sha256)) == FILES[path]
    assert fetching.bytes_seen == len(FILES[path])
    assert fetching.staged_bytes == 0


def test_a_regular_file_is_proven_by_its_git_oid(fetching: Fetching) -> None:
    assert fetching.fetch("config.json").git_oid == git_blob_oid(FILES["config.json"])


def test_bytes_that_are_held_already_are_no_news(fetching: Fetching) -> None:
    assert fetching.fetch().is_new
    assert not fetching.fetch().is_new


@pytest.mark.parametrize("at", [0, 1, 1_000_000, 3_000_001])
def test_a_cut_connection_is_continued_where_it_ended(fetching: Fetching, hub: Hub, at: int) -> None:
    hub.fault("cut", path="model.safetensors", at=at, times=1)
    assert fetching.fetch().sha256 == SHA256
    first, *others = fetching.ranges()
    assert first == ""
    assert others
    assert set(others) <= {"", f"bytes={at}-"}  # what was still in flight at the cut may be asked for again
    assert fetching.bytes_seen == len(WEIGHTS)


def test_many_cuts_in_a_row_are_survived_while_each_connection_brings_something(
    fetching: Fetching, hub: Hub
) -> None:
    hub.fault("cut", path="model.safetensors", at=1_200_000)
    assert fetching.fetch().sha256 == SHA256


def test_cuts_that_bring_nothing_end_in_a_failure_that_keeps_what_came(fetching: Fetching, hub: Hub) -> None:
    hub.fault("cut", path="model.safetensors", at=2_000_000, times=1)
    hub.fault("cut", path="model.safetensors", at=0)
    with pytest.raises(UpstreamUnavailable):
        fetching.fetch()
    assert fetching.staged_bytes >= 1_000_000
    hub.heal()
    fetching.bytes_seen = 0
    assert fetching.fetch().sha256 == SHA256
    assert fetching.ranges()[-1].startswith("bytes=")
    assert fetching.bytes_seen == len(WEIGHTS)


def test_a_connection_that_stalls_is_given_up_and_continued(fetching: Fetching, hub: Hub) -> None:
    hub.fault("stall", path="model.safetensors", at=2_000_000, times=1)
    assert fetching.fetch().sha256 == SHA256


@pytest.mark.parametrize("lie", ["ignore-range", "wrong-206"])
def test_a_server_that_gets_ranges_wrong_costs_time_and_not_truth(
    fetching: Fetching, hub: Hub, lie: str
) -> None:
    hub.fault("cut", path="model.safetensors", at=2_000_000, times=1)
    hub.fault(lie, path="model.safetensors")
    assert fetching.fetch().sha256 == SHA256


def test_one_flipped_byte_is_fetched_again_from_the_beginning(fetching: Fetching, hub: Hub) -> None:
    hub.fault("corrupt", path="model.safetensors", at=3_333_333, times=1)
    assert fetching.fetch().sha256 == SHA256
    assert fetching.ranges() == ["", ""]
    assert fetching.bytes_seen == len(WEIGHTS)


@pytest.mark.parametrize("path", ["model.safetensors", "config.json"])
def test_bytes_that_stay_wrong_are_refused_with_both_values(fetching: Fetching, hub: Hub, path: str) -> None:
    hub.fault("corrupt", path=path, at=3)
    with pytest.raises(WrongBytes) as wrong:
        fetching.fetch(path)
    assert wrong.value.code == "wrong-digest"
    assert fetching.files[path].digest in wrong.value.expected
    assert wrong.value.actual in str(wrong.value)
    assert nothing_stays(fetching)


@pytest.mark.parametrize(
    ("fault", "how", "code"),
    [
        ("list-sha256", {}, "wrong-digest"), ("list-size", {"by": 1}, "wrong-size"),
        ("list-size", {"by": -1}, "wrong-size"),
        ("html", {}, "html-instead-of-file"), ("pointer", {}, "pointer-instead-of-file"),
        ("truncate", {"at": 100}, "wrong-size"),
    ],
)  # fmt: skip
def test_an_upstream_that_lies_leaves_nothing_behind(
    hub: Hub, store: DirectoryStore, fault: str, how: dict[str, int], code: str
) -> None:
    hub.fault(fault, path="model.safetensors", **how)
    fetching = Fetching(hub, store)
    with pytest.raises(WrongBytes) as wrong:
        fetching.fetch()
    assert wrong.value.code == code
    assert nothing_stays(fetching)
    assert fetching.bytes_seen == 0


def test_more_bytes_than_the_file_has_are_thrown_away(fetching: Fetching) -> None:
    with fetching.store.stage("one") as staged:
        staged.write(WEIGHTS + b"more")
    assert fetching.fetch().sha256 == SHA256


def test_wrong_bytes_of_an_earlier_process_are_noticed_and_replaced(fetching: Fetching) -> None:
    with fetching.store.stage("one") as staged:
        staged.write(b"\x01" * 1000)
    assert fetching.fetch().sha256 == SHA256
    assert fetching.ranges() == ["bytes=1000-", ""]


def test_stopping_keeps_what_has_arrived(fetching: Fetching, hub: Hub) -> None:
    hub.fault("slow", path="model.safetensors", rate=2_000_000, times=1)
    wanted = 500_000

    def stop_soon(n_bytes: int) -> None:
        fetching.bytes_seen += n_bytes
        if fetching.bytes_seen >= wanted:
            fetching.halt.soon.set()

    fetching.count = stop_soon  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        fetching.fetch()
    assert wanted <= fetching.staged_bytes < len(WEIGHTS)
    fetching.halt.soon.clear()
    wanted = 1 << 62
    assert fetching.fetch().sha256 == SHA256
    assert fetching.ranges()[-1].startswith("bytes=")


def test_bytes_that_have_all_arrived_are_still_promoted_when_the_slice_is_over(fetching: Fetching) -> None:
    with fetching.store.stage("one") as staged:
        staged.write(WEIGHTS)
    fetching.halt.soon.set()
    assert fetching.fetch().sha256 == SHA256
