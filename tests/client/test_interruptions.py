"""Killed, cut, doubled: no wrong byte ever gets a final name, and the next run goes on."""

import hashlib
import json
import os
import random
import shutil
import signal
import struct
import time
from pathlib import Path

import pytest
from holdfast.fetching.partial import PART_BYTES

from tests.client.conftest import LARGE, SMALL, noise
from tests.client.running import Home, kill, wait_until
from tests.client.server import HoldfastHub

HUGE = noise(48_000_000, 3)  # three parts
FILES = {"config.json": b"{}", "model-1.safetensors": HUGE, "model-2.safetensors": LARGE, "s.bin": SMALL}
KILLS = int(os.environ.get("CLIENT_KILLS", "6"))
SOAK_KILLS = int(os.environ.get("SOAK_CLIENT_KILLS", "200"))
SEED = int(os.environ.get("KILL_SEED", "20"))


@pytest.fixture
def huge(hub: HoldfastHub) -> str:
    """org/huge: two files with a map of parts, two without. Returns its commit."""
    return hub.add("org/huge", FILES)


def present_bytes(home: Home) -> int:
    """What the maps of unfinished files say."""
    return sum(
        sum(count for (count,) in struct.iter_unpack("<Q", path.read_bytes()[24:]))
        for path in home.cache.rglob("*.parts")
    )


def assert_only_true_names(home: Home) -> None:
    for name, content in home.blobs().items():
        git_name = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        assert name in (hashlib.sha256(content).hexdigest(), git_name)
    for link in home.cache.rglob("snapshots/*/*"):
        assert link.exists(), f"{link} shows nothing"


def assert_complete(home: Home, hub: HoldfastHub, n_kills: int) -> None:
    """All is there and right, nothing lies around, and no kill cost more than a part of each file."""
    path = home.ok("pull", "org/huge").path
    assert {name: (path / name).read_bytes() for name in FILES} == FILES
    assert home.leftovers() == []
    assert "all good" in home.ok("check").stderr
    for name, content in FILES.items():
        assert hub.sent[name] <= len(content) + n_kills * PART_BYTES, name


def torture(home: Home, hub: HoldfastHub, n_kills: int) -> None:
    """Kills pulls at random instants, from an empty cache to a complete one, again and again."""
    hub.fault("slow", path="*.safetensors", rate=30_000_000)
    moments, n_killed, n_here = random.Random(SEED), 0, 0
    while n_killed < n_kills:
        process = home.start("-q", "pull", "org/huge")
        time.sleep(moments.uniform(0.05, 0.9))  # the instant is the subject, not something waited for
        if process.poll() is None:
            n_killed, n_here = n_killed + 1, n_here + 1
        kill(process)
        assert_only_true_names(home)
        if process.returncode == 0:
            assert_complete(home, hub, n_here)
            shutil.rmtree(home.cache)
            hub.sent.clear()
            n_here = 0
    hub.heal()
    assert_complete(home, hub, n_here)


def test_killed_at_random_it_never_names_a_wrong_byte_and_completes(
    home: Home, hub: HoldfastHub, huge: str
) -> None:
    print(f"KILL_SEED={SEED}")  # shown when the test fails
    torture(home, hub, KILLS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_kills_name_no_wrong_byte(home: Home, hub: HoldfastHub, huge: str) -> None:
    print(f"KILL_SEED={SEED}")
    torture(home, hub, SOAK_KILLS)


def test_what_came_before_the_kill_is_not_fetched_again(home: Home, hub: HoldfastHub, huge: str) -> None:
    hub.fault("slow", rate=40_000_000)
    process = home.start("pull", "org/huge//model-1.safetensors")
    wait_until(lambda: present_bytes(home) > 20_000_000)
    kill(process)
    kept = present_bytes(home)
    hub.heal()
    pulled = home.ok("pull", "org/huge//model-1.safetensors", "--json").json["pulled"][0]
    assert pulled["fetched_bytes"] <= len(HUGE) - kept < len(HUGE) - 20_000_000
    assert Path(pulled["path"]).read_bytes() == HUGE


def test_an_interrupt_exits_130_keeps_the_bytes_and_says_so(home: Home, hub: HoldfastHub, huge: str) -> None:
    hub.fault("slow", rate=20_000_000)
    process = home.start("pull", "org/huge")
    wait_until(lambda: present_bytes(home) > 2_000_000)
    process.send_signal(signal.SIGINT)
    _out, shown = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "run the same command again" in shown
    assert "Traceback" not in shown
    assert present_bytes(home) > 2_000_000


def test_an_interrupt_does_not_wait_for_a_silent_server(home: Home, hub: HoldfastHub, huge: str) -> None:
    hub.fault("stall", at=6_000_000)
    process = home.start("pull", "org/huge")
    wait_until(lambda: present_bytes(home) > 2_000_000)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert (process.returncode, time.monotonic() - started < 5) == (130, True)


def test_a_damaged_unfinished_file_is_noticed_and_fetched_again(
    home: Home, hub: HoldfastHub, huge: str
) -> None:
    hub.fault("slow", rate=40_000_000)
    process = home.start("pull", "org/huge//model-1.safetensors")
    wait_until(lambda: present_bytes(home) > 8_000_000)
    kill(process)
    hub.heal()
    staged = next(home.cache.rglob("*.holdfast.incomplete"))
    with staged.open("r+b") as file:
        file.seek(1000)
        file.write(b"not what came")
    result = home.ok("pull", "org/huge//model-1.safetensors")
    assert "was damaged" in result.stderr
    assert result.path.read_bytes() == HUGE


@pytest.mark.parametrize("damage", ["cut", "garbage", "boast", "gone"])
def test_a_map_that_lies_costs_time_and_nothing_else(
    home: Home, hub: HoldfastHub, huge: str, damage: str
) -> None:
    hub.fault("slow", rate=40_000_000)
    process = home.start("pull", "org/huge//model-1.safetensors")
    wait_until(lambda: present_bytes(home) > 8_000_000)
    kill(process)
    hub.heal()
    parts = next(home.cache.rglob("*.parts"))
    raw = parts.read_bytes()
    lies = {
        "cut": raw[:-3],
        "garbage": b"\xff" * len(raw),
        "boast": raw[:24] + struct.pack("<3Q", 1 << 24, 1 << 24, 14445568),
    }
    if damage == "gone":
        parts.unlink()
    else:
        parts.write_bytes(lies[damage])
    assert home.ok("pull", "org/huge//model-1.safetensors").path.read_bytes() == HUGE
    assert home.leftovers() == []


def test_two_processes_fetch_the_same_bytes_once(home: Home, hub: HoldfastHub, huge: str) -> None:
    hub.fault("slow", rate=15_000_000)
    processes = [home.start("pull", "org/huge", "--json") for _ in range(2)]
    shown = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], shown
    pulled = [json.loads(stdout)["pulled"][0] for stdout, _stderr in shown]
    assert pulled[0]["path"] == pulled[1]["path"]
    assert pulled[0]["fetched_bytes"] + pulled[1]["fetched_bytes"] == pulled[0]["size_bytes"]
    assert "waiting for another process" in shown[0][1] + shown[1][1]
    assert_only_true_names(home)


def test_a_killed_process_leaves_no_lock_behind(home: Home, hub: HoldfastHub, huge: str) -> None:
    hub.fault("stall", at=1_000_000, path="model-1*", times=1)
    process = home.start("pull", "org/huge//model-1.safetensors")
    wait_until(lambda: hub.seen("resolve") != [])
    kill(process)
    home.ok("pull", "org/huge//model-1.safetensors")


def test_one_bad_file_stops_the_pull_and_the_good_ones_are_kept(
    home: Home, hub: HoldfastHub, huge: str
) -> None:
    hub.fault("corrupt", path="s.bin", at=5)
    hub.fault("slow", path="s.bin", rate=150_000)  # found out when the others are on their way
    hub.fault("slow", path="model-1*", rate=20_000_000)
    home.fails("hash_mismatch", "pull", "org/huge")
    assert not (home.cache / "models--org--huge" / "refs").exists()
    hub.heal()
    hub.requests.clear()
    pulled = home.ok("pull", "org/huge", "--json").json["pulled"][0]
    assert pulled["fetched_bytes"] < pulled["size_bytes"]


def test_slow_connections_get_company(home: Home, hub: HoldfastHub, huge: str) -> None:
    hub.fault("slow", rate=6_000_000)
    started = time.monotonic()
    assert home.ok("pull", "org/huge//model-1.safetensors").path.read_bytes() == HUGE
    assert len(hub.seen("resolve")) > 1
    assert time.monotonic() - started < len(HUGE) / 6_000_000


def test_company_that_is_told_to_slow_down_goes_home(home: Home, hub: HoldfastHub, huge: str) -> None:
    hub.fault("slow", rate=12_000_000)
    hub.fault("status", status=429, after=1, times=2)
    result = home.ok("pull", "org/huge//model-1.safetensors", "-v")
    assert result.path.read_bytes() == HUGE
    assert "-> 429" in result.stderr
