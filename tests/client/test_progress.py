"""What a person and a program are told while bytes come: little of many small files, all of a few."""

import os
import pty
import re
import subprocess
from pathlib import Path

from holdfast.fetching.progress import MAX_TOLD, Progress, Rate

from tests.client.conftest import noise
from tests.client.running import COMMAND, Home
from tests.client.server import HoldfastHub


def told(sizes: list[int], *, tell_finished: bool = True) -> list[int]:
    """The sizes of the files that are worth a line."""
    progress = Progress(sum(sizes), len(sizes), tell_finished=tell_finished)
    for n, size in enumerate(sizes):
        progress.started(str(n), size, 0)
    return [size for n, size in enumerate(sizes) if progress.is_worth_a_line(str(n))]


def test_each_of_a_few_files_is_told_and_of_many_the_large_ones() -> None:
    assert told([1, 2, 3]) == [1, 2, 3]
    assert told([10] * 30 + [400, 5_000]) == [400, 5_000]
    assert len(told([7] * MAX_TOLD)) == MAX_TOLD
    assert told([7] * (MAX_TOLD + 1)) == []
    assert told([1, 2, 3], tell_finished=False) == []


def test_the_rate_is_that_of_the_last_seconds_and_time_to_go_follows() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0])
    for second in range(1, 40):
        now[0] = float(second)
        measured = rate.bytes_per_second(100 * second if second < 20 else 2_000 + 10 * (second - 20))
    assert 9 <= measured <= 11
    assert Progress(10, 1).rate_and_eta() == (0.0, None)


def on_terminal(home: Home, *arguments: str) -> str:
    """What one command line shows on a terminal of 80 columns, without control sequences."""
    inner, outer = pty.openpty()
    environment = {**home.environment(), "TERM": "xterm", "PYTHONWARNINGS": "default"}
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=environment, cwd=home.folder, stdin=outer, stdout=outer, stderr=outer
    )
    os.close(outer)
    shown = bytearray()
    try:
        while piece := os.read(inner, 65536):
            shown += piece
    except OSError:
        pass  # Linux says so when the other end is closed
    os.close(inner)
    assert process.wait(60) == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def test_a_terminal_shows_a_line_per_slow_file_and_a_total(home: Home, hub: HoldfastHub) -> None:
    name = "a folder/" + "long " * 20 + "name.bin"
    files = {name: noise(2_000_000, 1), "b.safetensors": noise(2_000_000, 2)}
    hub.add("org/slow", files)
    hub.fault("slow", rate=2_500_000)
    lines = re.split(r"[\r\n]+", on_terminal(home, "pull", "org/slow"))
    shown = [line for line in lines if re.search(r"\d+\.\d/\d+\.\d MB", line)]
    assert any(line.startswith("b.safetensors ") for line in shown)
    assert any(line.startswith("2 files ") for line in shown)
    assert sum(line.startswith("  verified ") for line in lines) == 2
    assert max(map(len, (line for line in lines if line.startswith("  verified ") or line in shown))) <= 80


def test_many_small_files_are_not_told_one_by_one(home: Home, hub: HoldfastHub) -> None:
    hub.add("org/many", {f"{n}.json": b"%d" % n for n in range(60)})
    shown = on_terminal(home, "pull", "org/many")
    assert "verified  " not in shown
    assert "60 files verified" in shown
    assert len(list(Path(home.ok("-q", "pull", "org/many").stdout.strip()).iterdir())) == 60
