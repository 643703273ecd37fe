"""The partial file and its map, the hasher that follows, and the judgement how many streams pay."""

import hashlib
import random
from pathlib import Path

import pytest
from holdfast.fetching import partial as module
from holdfast.fetching.following import FollowingHasher
from holdfast.fetching.partial import PART_BYTES, Partial
from holdfast.fetching.streams import Widening
from hypothesis import given, settings
from hypothesis import strategies as st

MIB = 1 << 20


def in_pieces(part: Partial, start: int, end: int, content: bytes) -> None:
    while start < end:
        stop = min(start + MIB, end, part.part_end(start))
        part.write(start, content[start:stop])
        start = stop


def test_a_new_partial_misses_everything(tmp_path: Path) -> None:
    part = Partial(tmp_path / "x", 2 * PART_BYTES + 5)
    assert part.missing() == [(0, 2 * PART_BYTES + 5)]
    assert part.part_end(2 * PART_BYTES) == 2 * PART_BYTES + 5
    part.close()


def test_what_was_written_is_present_after_a_reopen(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(PART_BYTES + 3 * MIB)
    one = Partial(tmp_path / "x", len(content))
    in_pieces(one, 0, 5 * MIB, content)
    in_pieces(one, PART_BYTES, PART_BYTES + MIB + 7, content)
    one.close()
    two = Partial(tmp_path / "x", len(content))
    assert two.missing() == [(5 * MIB, PART_BYTES), (PART_BYTES + MIB + 7, len(content))]
    assert two.present_until(0) == 5 * MIB
    for start, end in two.missing():
        in_pieces(two, start, end, content)
    assert two.missing() == []
    two.move_to(tmp_path / "final")
    assert (tmp_path / "final").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_a_map_without_close_claims_at_most_what_is_there(tmp_path: Path) -> None:
    content = bytes(range(256)) * 12_000
    one = Partial(tmp_path / "x", len(content))
    in_pieces(one, 0, 1_500_000, content)
    two = Partial(tmp_path / "x", len(content))
    kept = two.present_bytes()
    assert 1_500_000 - module.MAP_EVERY_BYTES <= kept <= 1_500_000
    view = memoryview(bytearray(kept))
    assert two.read_into(view, 0) == kept
    assert bytes(view) == content[:kept]
    one.close()
    two.close()


@pytest.mark.parametrize("other_size", [1, PART_BYTES, PART_BYTES + 2])
def test_a_partial_of_another_size_starts_over(tmp_path: Path, other_size: int) -> None:
    one = Partial(tmp_path / "x", PART_BYTES + 1)
    one.write(0, b"abc")
    one.close()
    two = Partial(tmp_path / "x", other_size)
    assert two.present_bytes() == 0
    two.discard()
    two.discard()
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(6)), seed=st.integers(0, 9))
def test_the_digest_is_right_whatever_order_the_parts_come_in(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    size, step = 5 * 70_000 + 11, 70_000
    before, module.PART_BYTES = module.PART_BYTES, step
    try:
        content = random.Random(seed).randbytes(size)
        part = Partial(folder / "x", size)
        hasher = FollowingHasher(part, with_git=True)
        for number in order:
            for start in range(number * step, min((number + 1) * step, size), 30_000):
                piece = content[start : min(start + 30_000, (number + 1) * step)]
                part.write(start, piece)
                hasher.offer(start, piece)
        digests = hasher.finish()
        part.discard()
    finally:
        module.PART_BYTES = before
    assert digests.sha256 == hashlib.sha256(content).hexdigest()
    assert digests.git_oid == hashlib.sha1(b"blob %d\0" % size + content).hexdigest()


def test_an_abandoned_hasher_ends(tmp_path: Path) -> None:
    part = Partial(tmp_path / "x", PART_BYTES)
    FollowingHasher(part, with_git=False).abandon()
    part.close()


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def play(rates: list[float], limit: int = 8) -> list[int]:
    """How many streams there are after each second, if the total comes at these MB/s."""
    clock, n_streams, seen = Clock(), 1, []
    widening = Widening(limit, clock=clock)
    for rate in rates:
        clock.now += 1
        n_streams += widening.streams_to_add(int(rate * 1e6), 10**12, n_streams)
        seen.append(n_streams)
    return seen


def test_streams_double_while_that_pays_and_then_stay() -> None:
    assert play([16, 32, 64, 128]) == [2, 4, 8, 8]
    assert play([16, 17, 30, 60]) == [2, 2, 2, 2]
    assert play([16, 32, 64], limit=3) == [2, 3, 3]


def test_a_fast_stream_and_a_short_rest_stay_alone() -> None:
    assert play([900, 900]) == [1, 1]
    clock = Clock()
    widening = Widening(8, clock=clock)
    clock.now = 1.0
    assert widening.streams_to_add(10_000_000, 9_000_000, 1) == 0
