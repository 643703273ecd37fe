"""The supervisor: children restart when they die and end together."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.services.processes import wait_for

PROGRAM = """
import sys
from registry.supervisor import Child, Supervisor
folder = sys.argv[1]
note = (
    "import os, pathlib, sys, time;"
    "pathlib.Path(sys.argv[1], sys.argv[2]).open('a').write(str(os.getpid()) + ' '); time.sleep(60)"
)
Supervisor([Child(n, [sys.executable, "-c", note, folder, n]) for n in ("one", "two")]).run()
"""


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_that_dies_is_started_again_and_all_end_with_the_supervisor(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    supervisor = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)])
    try:
        wait_for(lambda: bool(pids(one) and pids(two)), what="both children started")
        os.kill(pids(one)[0], signal.SIGKILL)
        wait_for(lambda: len(pids(one)) == 2, what="the killed child started again")
        assert len(pids(two)) == 1
    finally:
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(20) == 0
    assert not any(is_alive(pid) for pid in [pids(one)[-1], pids(two)[0]])
