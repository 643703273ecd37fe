"""--limit-rate: never more bytes in any stretch of time than it says, and hardly fewer."""

import random

import pytest
from holdfast.network.limiting import BURST_SECONDS, Limit

from tests.client.conftest import LARGE
from tests.client.running import Home


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def received(
    limit: Limit, clock: Clock, sizes: list[int], silences: dict[int, float]
) -> list[tuple[float, int]]:
    """When each piece could be used, with silences of the server before some of them."""
    seen = []
    for n, size in enumerate(sizes):
        clock.now += silences.get(n, 0.0)
        limit.arrived(size)
        seen.append((clock.now, size))
    return seen


@pytest.mark.parametrize("rate", [1_000, 64_000, 10_000_000])
def test_in_no_stretch_of_time_do_more_bytes_come(rate: int) -> None:
    clock, choose = Clock(), random.Random(rate)
    limit = Limit(rate, clock=clock, sleep=clock.sleep)
    sizes = [choose.randrange(1, max(2, rate // 20)) for _ in range(400)]
    seen = received(limit, clock, sizes, {50: 30.0, 51: 0.05, 200: 3600.0})
    for first in range(0, len(seen), 7):
        arrived = 0
        for when, size in seen[first:]:
            arrived += size
            allowed = rate * (when - (seen[first - 1][0] if first else 1000.0) + BURST_SECONDS)
            assert arrived <= allowed + 1


def test_a_steady_stream_takes_as_long_as_the_rate_says() -> None:
    clock = Clock()
    limit = Limit(1_000_000, clock=clock, sleep=clock.sleep)
    received(limit, clock, [limit.piece(1 << 20)] * 200, {})
    assert clock.now - 1000.0 == pytest.approx(10.0, rel=0.001)


def test_reads_are_cut_so_that_no_pause_is_long() -> None:
    assert [Limit(rate).piece(1 << 20) for rate in (1, 2_000, 1 << 30)] == [1, 100, 1 << 20]


def test_all_connections_of_a_pull_share_the_limit(home: Home, model: str) -> None:
    """A lower bound on time is safe: a busy machine only adds."""
    done = home.ok("--json", "pull", "org/model", "--limit-rate", "20M").json["pulled"][0]
    assert done["fetched_bytes"] > len(LARGE)
    assert done["seconds"] >= done["fetched_bytes"] / 20_000_000 - 2 * BURST_SECONDS
