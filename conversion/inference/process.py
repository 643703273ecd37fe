"""The process border: one throw-away child and the conversation with it, whatever it does.

The child has an empty environment, its own process group, no terminal, and what confine.py takes from it. This process
gets an answer of bounded size (conversation.py) or an EngineError: a crash with the name of the signal, a time-out.
"""

import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from conversion.inference.conversation import Answer, Conversation, HungUp, TooLate, printable
from conversion.inference.engine import EngineError
from conversion.inference.provisions import sealed_file
from conversion.inference.usage import Usage, usage_of

CHILD = Path(__file__).with_name("child.py")
MAX_STDERR_BYTES = 64 * 1024
START_SECONDS = 120.0
"""For the engine to be imported: torch from a cold disk takes a minute."""
ENDING_SECONDS = 2.0
"""For a child that has closed its pipes to be gone by itself; then it is killed."""

_OF_THE_MACHINE = {"SIGXCPU": "engine-timeout", "SIGKILL": "engine-out-of-memory"}
"""Signals that say that a limit was reached, or that the kernel was out of memory."""


class ChildProcess:
    """A running child. A context manager: afterwards it and all its processes are gone.

    After an EngineError `engine-crashed`, `engine-timeout` or `engine-answer` it is already gone. Answers that are too
    large for the conversation come in `_shared`, memory that only the child writes.
    """

    def __init__(self, shared_bytes: int) -> None:
        self._shared_bytes, self._deadline = shared_bytes, time.monotonic() + START_SECONDS
        self._start_process()

    def _start_process(self) -> None:
        shared, self._stderr = sealed_file(self._shared_bytes), sealed_file(MAX_STDERR_BYTES)
        self._shared = mmap.mmap(shared, self._shared_bytes, prot=mmap.PROT_READ)
        requests, to_child = os.pipe()
        from_child, answers = os.pipe()
        self._conversation: Conversation | None = Conversation(to_child, from_child)
        inherited = (requests, answers, shared)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(CHILD), *map(str, inherited)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            pass_fds=inherited,
            env={},
            cwd="/",
            start_new_session=True,
        )
        for descriptor in inherited:
            os.close(descriptor)

    @property
    def is_gone(self) -> bool:
        return self._conversation is None or self._process.poll() is not None

    @property
    def usage(self) -> Usage:
        """What the child has taken so far."""
        return usage_of(self._process.pid)

    def _ask(self, **request: Any) -> Answer:
        if self._conversation is None:
            raise EngineError("engine-crashed", "the engine's process is already gone")
        try:
            return self._conversation.ask(request, self._deadline)
        except TooLate:
            self._give_up("engine-timeout", "the engine did not answer in time and was killed")
        except HungUp:
            self._give_up_crashed()
        except EngineError as error:
            if error.code == "engine-answer":
                self.close()
            raise

    def _give_up_crashed(self) -> NoReturn:
        code, last_words = self._wait_for_end(), self._last_words()
        if code is None:
            self._give_up("engine-crashed", "the engine closed its pipes and was killed")
        if code >= 0:
            raise EngineError(
                "engine-crashed", f"the engine's process ended with {code}: {last_words}", exit_code=code
            )
        name = _signal_name(-code)
        raise EngineError(
            _OF_THE_MACHINE.get(name, "engine-crashed"),
            f"the engine crashed: {name}. {last_words}".strip(),
            signal=name,
            said=last_words,
        )

    def _wait_for_end(self) -> int | None:
        """The exit status of a child that hung up; None for one that lives on."""
        try:
            return self._process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def _give_up(self, code: str, message: str) -> NoReturn:
        self.close()
        raise EngineError(code, message)

    def _last_words(self) -> str:
        text = os.pread(self._stderr, MAX_STDERR_BYTES, 0).rstrip(b"\0").decode("utf-8", "replace")
        lines = [
            line.strip().removeprefix("what():").strip()
            for line in text.splitlines()
            if line.strip() and (line.startswith("  what():") or not line.startswith(("  ", "[")))
        ]
        return printable(" · ".join(lines[-3:])[-600:])

    def close(self) -> None:
        """The child and whatever it started are gone. Idempotent."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._conversation is not None:
            self._conversation.close()
            os.close(self._stderr)
            self._conversation = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time signal has no name
