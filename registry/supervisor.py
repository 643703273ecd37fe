"""One process that keeps others running: started together, restarted when they die, ended together."""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

logger = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
STEADY_SECONDS = 60.0  # a child that lived this long starts again without waiting
GRACE_SECONDS = 30.0  # between SIGTERM and SIGKILL


@dataclass
class Child:
    """One program under supervision, in a process group of its own."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float = 0.0
    wait_seconds: float = FIRST_WAIT_SECONDS

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, start_new_session=True)
        self.started_at = time.monotonic()

    def signal(self, number: int) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def look_after(self) -> None:
        """Afterwards the child runs, or its restart is due at a known time."""
        if self.process and self.process.poll() is None:
            return
        now = time.monotonic()
        if self.process:
            self._plan_restart(now)
        if now >= self.start_again_at:
            self.start()

    def _plan_restart(self, now: float) -> None:
        assert self.process  # noqa: S101  # the only caller has just looked
        steady = now - self.started_at > STEADY_SECONDS
        self.wait_seconds = FIRST_WAIT_SECONDS if steady else min(2 * self.wait_seconds, LONGEST_WAIT_SECONDS)
        self.start_again_at = now + self.wait_seconds
        logger.error(
            "%s ended (status %s); again in %.0f s", self.name, self.process.returncode, self.wait_seconds
        )
        self.process = None


class Supervisor:
    """Runs until SIGTERM or SIGINT, then ends its children: SIGTERM first, SIGKILL after a grace period."""

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = list(children)
        self._ending = False

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        try:
            while not self._ending:
                for child in self.children:
                    child.look_after()
                time.sleep(0.2)
        finally:
            self._stop_all()

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True

    def _stop_all(self) -> None:
        for child in self.children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for child in self.children:
            if child.process:
                try:
                    child.process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    logger.warning("%s did not end within %.0f s and was killed", child.name, GRACE_SECONDS)
                    child.signal(signal.SIGKILL)
                    child.process.wait()
