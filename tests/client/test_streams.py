"""Streams that take work from each other: whatever is cut, slow or refused, every byte is written once and is right."""

import hashlib
import threading
from collections import Counter
from functools import partial as bind
from pathlib import Path

import pytest
from holdfast.fetching import partial as partial_module
from holdfast.fetching import streams as streams_module
from holdfast.fetching.following import FollowingHasher
from holdfast.fetching.partial import Partial
from holdfast.fetching.streams import Slots, Streams
from holdfast.network.transport import Transport
from holdfast.sources.hub import Hub

from tests.client.conftest import noise
from tests.client.server import HoldfastHub

SIZE = 3_000_011
PART = 64 * 1024


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts and short windows: many streams and much stealing within a second."""
    for module, name, value in (
        (partial_module, "PART_BYTES", PART), (streams_module, "PART_BYTES", PART),
        (streams_module, "READ_BYTES", 20_000),
        (streams_module, "WINDOW_SECONDS", 0.01), (streams_module, "WORTH_WIDENING_SECONDS", 0.0),
        (streams_module, "CLEARLY_FASTER", 0.0),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


def fill(hub: HoldfastHub, commit: str, path: Path) -> tuple[str, Counter[int]]:
    """The digest of what eight streams brought, and how often each byte count was told."""
    transport = Transport(hub.url, None, timeout_seconds=5, connections=9, proxy_for=lambda _url: None)
    client = Hub(hub.url, transport, retries=8)
    part, told = Partial(path, SIZE), Counter[int]()
    hasher = FollowingHasher(part, with_git=False)
    try:
        Streams(
            bind(client.open_file, "org/model", commit, "model.safetensors"), part, hasher, name="model.safetensors",
            slots=Slots(8), retries=8, stopping=threading.Event(), on_bytes=lambda n: told.update({n: 1}),
        ).fill()  # fmt: skip
        digests = hasher.finish()
    finally:
        hasher.abandon()
        part.close()
    return digests.sha256, told


@pytest.mark.parametrize("seed", range(6))
def test_every_byte_is_brought_once_and_right(
    hub: HoldfastHub, hurried: None, tmp_path: Path, seed: int
) -> None:
    content = noise(SIZE, seed)
    commit = hub.add("org/model", {"model.safetensors": content})
    hub.fault("slow", rate=3_000_000)
    hub.fault("cut", at=100_000 + 7919 * seed, times=6, after=seed)
    hub.fault("status", status=500, times=2, after=2 + seed)
    hub.fault("status", status=429, times=3, after=4)
    sha256, told = fill(hub, commit, tmp_path / "x")
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert (tmp_path / "x").read_bytes() == content
    assert sum(size * times for size, times in told.items()) == SIZE
    assert len(hub.seen("resolve")) > 4, "nobody had company"


def test_helpers_that_get_no_range_leave_the_work_to_the_first(
    hub: HoldfastHub, hurried: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each would read the file from its start, to throw most of it away."""
    monkeypatch.setattr(
        streams_module, "STRETCH_PARTS", 20
    )  # a helper is answered before the first has read this
    content = noise(SIZE, 8)
    commit = hub.add("org/model", {"model.safetensors": content})
    hub.fault("ignore-range")
    hub.fault("slow", rate=6_000_000)
    sha256, told = fill(hub, commit, tmp_path / "x")
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert sum(size * times for size, times in told.items()) == SIZE
    assert 2 <= len(hub.seen("resolve")) <= 3


def test_without_ranges_one_stream_is_enough_and_right(
    hub: HoldfastHub, hurried: None, tmp_path: Path
) -> None:
    content = noise(SIZE, 9)
    commit = hub.add("org/model", {"model.safetensors": content})
    hub.fault("ignore-range")
    hub.fault("cut", at=1_000_000, times=2)
    sha256, _told = fill(hub, commit, tmp_path / "x")
    assert sha256 == hashlib.sha256(content).hexdigest()
