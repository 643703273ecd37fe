"""The process border, seen from outside: one throw-away child with one engine and one artifact.

Whatever a file does to the engine, this process gets an answer of bounded size or an EngineError: a crash with
the name of the signal, a time-out, too long an answer. The child has an empty environment, its own process
group, no terminal, and what confine.py takes from it.
"""

import fcntl
import json
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from conversion.inference.confine import GIB, MIB, Limits
from conversion.inference.engine import NEEDS_SCRATCH, EngineError, EngineReport, Facts

CHILD = Path(__file__).with_name("child.py")
SHARED_BYTES = 8 * MIB
MAX_ANSWER_BYTES = 1 * MIB
MAX_STDERR_BYTES = 64 * 1024
MAX_SUMS = 1 << 28
START_SECONDS = 120.0
"""For the engine to be imported: torch from a cold disk takes a minute."""

_OF_THE_MACHINE = {"SIGXCPU": "engine-timeout", "SIGKILL": "engine-out-of-memory"}
"""Signals that say that a limit was reached, or that the kernel was out of memory."""

Rows = NDArray[np.float32]


def limits_for(size_bytes: int, engine: str = "llama.cpp") -> Limits:
    """What judging a file of this size may take: its memory and time on a slow, busy machine."""
    base = 16 * GIB if engine == "transformers" else 2 * GIB  # torch maps several GB that it never touches
    seconds = 600 + size_bytes // (2 * MIB)
    return Limits(base + size_bytes * (4 if engine == "transformers" else 2), int(seconds), float(seconds))


def _sealed_file(size_bytes: int) -> int:
    """A descriptor of `size_bytes` zeros that can neither grow nor shrink where the kernel can seal it."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, size_bytes)
        return descriptor
    descriptor = os.memfd_create("holdfast", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(descriptor, size_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return descriptor


class Sandbox:
    """A running child. A context manager: afterwards the child and all its processes are gone.

    Raises EngineError from every method; after `engine-crashed`, `engine-timeout` and `engine-answer` the child is
    already gone. `loading_seconds` is what the load took.
    """

    def __init__(
        self,
        engine: str,
        path: Path,
        *,
        limits: Limits | None = None,
        threads: int = 1,
        shared_bytes: int = SHARED_BYTES,
        observe: bool = False,
    ) -> None:
        self.path, self._shared_bytes, self._observe = path, shared_bytes, observe
        self.limits = limits or limits_for(_size_of(path), engine)
        self._deadline = time.monotonic() + START_SECONDS
        self._scratch = (
            tempfile.TemporaryDirectory(prefix="holdfast-engine-") if engine in NEEDS_SCRATCH else None
        )
        self._start_process()
        try:
            self._load(engine, threads)
        except BaseException:
            self.close()
            raise

    def _load(self, engine: str, threads: int) -> None:
        scratch = self._scratch.name if self._scratch else None
        self.report = _report(
            self._ask(do="start", engine=engine, threads=threads, scratch=scratch)["report"]
        )
        started = time.monotonic()
        self._deadline = started + self.limits.wall_seconds
        path, limits = str(self.path.resolve()), asdict(self.limits)
        answer = self._ask(do="load", path=path, limits=limits, observe=self._observe)
        self.loading_seconds = time.monotonic() - started
        self.facts = Facts(**answer["facts"])
        self.isolation: dict[str, str] = answer["isolation"]
        if self.facts.n_vocab * 4 > self._shared_bytes:
            raise EngineError("load-refused", f"a vocabulary of {self.facts.n_vocab} tokens is too large")

    def _start_process(self) -> None:
        shared, self._stderr = _sealed_file(self._shared_bytes), _sealed_file(MAX_STDERR_BYTES)
        self._shared = mmap.mmap(shared, self._shared_bytes, prot=mmap.PROT_READ)
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
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

    # --- what a model can do: the same words as engine.Model ---

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        return list(map(int, self._ask(do="tokenize", text=text, special=special)["value"]))

    def detokenize(self, ids: Sequence[int]) -> str:
        return str(self._ask(do="detokenize", ids=list(ids))["value"])

    def is_end(self, token: int) -> bool:
        return bool(self._ask(do="is_end", token=token)["value"])

    def logits(self, ids: Sequence[int], *, first: int = 0, extend: bool = False) -> Iterator[Rows]:
        """float32 (n, n_vocab) pieces of at most `shared_bytes`, together the positions from `first` on.

        A piece is a copy. Finish one call before the next.
        """
        n_rows = int(self._ask(do="decode", ids=list(map(int, ids)), first=first, extend=extend)["rows"])
        if n_rows != len(ids) - first:
            self._give_up(
                "engine-answer", f"the engine answered {n_rows} rows for {len(ids) - first} positions"
            )
        n_vocab = self.facts.n_vocab
        at_once = self._shared_bytes // (n_vocab * 4)
        for start in range(0, n_rows, at_once):
            count = min(at_once, n_rows - start)
            self._ask(do="rows", start=start, count=count)
            values = np.frombuffer(self._shared, np.float32, count * n_vocab)
            yield values.reshape(count, n_vocab).copy()

    def activation_sums(self) -> Iterator[tuple[str, Rows, list[int]]]:
        """Of each weight, float32 (n_matrices, n_cols) sums of squared activations and their counts of rows.

        Only of a sandbox that was told to `observe`.
        """
        for one in self._ask(do="sums")["sums"]:
            name, shape = str(one["name"]), (int(one["n_matrices"]), int(one["n_cols"]))
            yield name, self._sum_values(name, shape), list(map(int, one["counts"]))

    def _sum_values(self, name: str, shape: tuple[int, int]) -> Rows:
        n_values, at_once = shape[0] * shape[1], self._shared_bytes // 4
        if not 0 < n_values <= MAX_SUMS:
            self._give_up("engine-answer", f"the engine offers {n_values} sums for {name[:100]}")
        values = np.empty(n_values, np.float32)
        for start in range(0, n_values, at_once):
            count = min(at_once, n_values - start)
            self._ask(do="sum_values", name=name, start=start, count=count)
            values[start : start + count] = np.frombuffer(self._shared, np.float32, count)
        return values.reshape(shape)

    # --- the conversation ---

    def _ask(self, **request: Any) -> dict[str, Any]:
        data = json.dumps(request).encode()
        try:
            _write_all(self._requests, struct.pack("<I", len(data)) + data)
        except BrokenPipeError:
            self._give_up_crashed()
        (length,) = struct.unpack("<I", self._read(4))
        if length > MAX_ANSWER_BYTES:
            self._give_up(
                "engine-answer", f"the engine answered {length} bytes; {MAX_ANSWER_BYTES} are allowed"
            )
        try:
            answer: dict[str, Any] = json.loads(self._read(length))
        except ValueError:
            self._give_up("engine-answer", "the engine's answer is not JSON")
        if "error" in answer:
            raise EngineError(str(answer["error"]), str(answer["message"]), **answer.get("facts", {}))
        return answer

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                self._give_up("engine-timeout", "the engine did not answer in time and was killed")
            part = os.read(self._answers, length - len(data))
            if not part:
                self._give_up_crashed()
            data += part
        return data

    def _give_up_crashed(self) -> NoReturn:
        code = self._process.wait()
        last_words = self._last_words()
        if code >= 0:
            raise EngineError(
                "engine-crashed", f"the engine's process ended with {code}: {last_words}", exit_code=code
            )
        name = signal.Signals(-code).name
        raise EngineError(
            _OF_THE_MACHINE.get(name, "engine-crashed"),
            f"the engine crashed: {name}. {last_words}".strip(),
            signal=name,
            said=last_words,
        )

    def _give_up(self, code: str, message: str) -> NoReturn:
        self.close()
        raise EngineError(code, message)

    def _last_words(self) -> str:
        text = os.pread(self._stderr, MAX_STDERR_BYTES, 0).rstrip(b"\0").decode("utf-8", "replace")
        lines = [
            line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("  ", "["))
        ]
        return " · ".join(lines[-3:])[-600:]

    def close(self) -> None:
        """The child and whatever it started are gone. Idempotent."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for name in ("_requests", "_answers", "_stderr"):
            if (descriptor := getattr(self, name)) is not None:
                os.close(descriptor)
                setattr(self, name, None)
        if self._scratch:
            self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _size_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    return path.stat().st_size


def _report(answer: dict[str, Any]) -> EngineReport:
    return EngineReport(**answer | {"cpu_features": tuple(answer["cpu_features"])})


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
