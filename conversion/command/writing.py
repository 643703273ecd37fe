"""Planned files on this machine's disk: made together, in one pass over the source, by several threads.

Every byte's place is known beforehand, so each thread reads a slab, makes it for every file that wants it, and writes
what it has of a file where it belongs; nothing waits for its turn. Files are made under a temporary name beside their
own, read again as a reader would, and only when all are whole and on the disk each gets its name. A failed or
interrupted run leaves nothing; a machine that loses power leaves no file under its own name that is less than whole.
"""

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from conversion.formats.errors import HeaderError
from conversion.formats.gguf import read_header as read_gguf_header
from conversion.formats.layout import FileLayout
from conversion.formats.safetensors import read_header as read_safetensors_header
from conversion.formats.source import FileSource
from conversion.formats.weights import Weights
from conversion.naming.file_types import PLAIN
from conversion.naming.slabs import Bytes, FilePlan, Scratch, Slab, make_slab, read_target, target_slabs

SLAB_ELEMENTS = 1 << 17
"""Half a megabyte of float32: with what was read and what is written it stays in the cache of one core. Twice as many
took an eighth longer to Q8_0."""

PLAIN_SLAB_ELEMENTS = 1 << 19
"""Between plain dtypes a value is hardly touched, and what each slab costs in Python is what counts: a quarter of the
size took a third longer from BF16 to F16, writing apart."""

TASKS_TOGETHER = 8
"""How many slabs a thread takes at once, so that most of what it writes is whole pieces."""

WRITE_BYTES = 1 << 20
"""Files are written in pieces of this size that begin at multiples of it, whatever the slabs are: the kernel keeps such
a piece in one large folio of its page cache. The same pieces from any other byte on took it half as long again."""

POLL_SECONDS = 0.1
NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


class WriteError(Exception):
    """Files that could not be made; `code` is stable. Nothing was left behind."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Output:
    """A file to be made at `path`."""

    path: Path
    plan: FilePlan

    @property
    def partial(self) -> Path:
        return _partial_of(self.path)


def write_files(
    outputs: Sequence[Output],
    weights: Weights,
    *,
    n_threads: int = 1,
    small_files: Mapping[Path, bytes] | None = None,
    on_bytes: Callable[[int], None] = lambda done: None,
) -> None:
    """Every output is at its path, whole; `small_files` are, too. Or nothing is there, and what was wrong is raised.

    `on_bytes` hears, about ten times a second, how many bytes of all outputs are made. Raises WriteError, QuantError,
    HeaderError.
    """
    small = small_files or {}
    _check_room(outputs)
    with ExitStack() as at_end:
        for path in [*(output.partial for output in outputs), *map(_partial_of, small)]:
            at_end.callback(path.unlink, missing_ok=True)
        _make(outputs, weights, n_threads, on_bytes)
        for path, data in small.items():
            path.parent.mkdir(exist_ok=True)
            _partial_of(path).write_bytes(data)
        for output in outputs:
            _check(output.partial, output.plan.layout)
        paths = [*(output.path for output in outputs), *small]
        for path in paths:
            flush(_partial_of(path))
        for path in paths:
            _partial_of(path).replace(path)
        for folder in dict.fromkeys(path.parent for path in paths):
            flush(folder)


def flush(path: Path) -> None:
    """What was written to the file, or the names in the folder, survives a loss of power. WriteError `write-failed`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        code = "no-space" if error.errno in NO_SPACE else "write-failed"
        raise WriteError(code, f"{path.name} cannot be made durable: {error}. Run again.") from error


def _partial_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def _check_room(outputs: Sequence[Output]) -> None:
    needed: dict[Path, int] = {}
    for output in outputs:
        needed[output.path.parent] = needed.get(output.path.parent, 0) + output.plan.layout.size_bytes
    for folder, size in needed.items():
        free = shutil.disk_usage(folder).free
        if size > free:
            raise WriteError(
                "no-space",
                f"{folder} needs {size:,} bytes, but only {free:,} are free. Make room; nothing was written.",
            )


def _make(
    outputs: Sequence[Output], weights: Weights, n_threads: int, on_bytes: Callable[[int], None]
) -> None:
    with ExitStack() as at_end:
        descriptors = []
        for output in outputs:
            descriptor = os.open(output.partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            at_end.callback(os.close, descriptor)
            os.ftruncate(descriptor, output.plan.layout.size_bytes)
            os.pwrite(descriptor, output.plan.layout.header_bytes, 0)
            descriptors.append(descriptor)
        crew = _Crew(_tasks([output.plan for output in outputs], descriptors), weights)
        crew.work(n_threads, on_bytes)


@dataclass(frozen=True, slots=True)
class _Task:
    """The same rows of one target for each file that wants them: (plan, slab, file descriptor)."""

    slabs: tuple[tuple[FilePlan, Slab, int], ...]


def _tasks(plans: Sequence[FilePlan], descriptors: Sequence[int]) -> Iterator[_Task]:
    """Files whose targets come in the same order are made together, the others one after another."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, plan in enumerate(plans):
        groups.setdefault(tuple(target.name for target in plan.targets), []).append(number)
    for group in groups.values():
        for at in range(len(plans[group[0]].targets)):
            entries = [plans[number].layout.entries[at] for number in group]
            is_plain = all(entry.dtype in PLAIN for entry in entries)
            n_elements = PLAIN_SLAB_ELEMENTS if is_plain else SLAB_ELEMENTS
            runs = [
                target_slabs(plans[number].targets[at], entry, n_elements)
                for number, entry in zip(group, entries, strict=True)
            ]
            for slabs in zip(*runs, strict=True):
                yield _Task(
                    tuple(
                        (plans[number], slab, descriptors[number])
                        for number, slab in zip(group, slabs, strict=True)
                    )
                )


@dataclass
class _Crew:
    """Threads that take tasks until there are none, or until one of them fails."""

    tasks: Iterator[_Task]
    weights: Weights
    done_bytes: int = 0
    fault: BaseException | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self, n_threads: int, on_bytes: Callable[[int], None]) -> None:
        threads = [threading.Thread(target=self._run, name=f"slab-{n}") for n in range(n_threads)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(POLL_SECONDS)
                    on_bytes(self.done_bytes)
        except BaseException as error:
            self.fault = error  # the others stop at their next task
            raise
        finally:
            for thread in threads:
                thread.join()
        if self.fault is not None:
            raise self.fault

    def _run(self) -> None:
        scratch, tails = Scratch(), dict[int, _Tail]()
        try:
            while tasks := self._next():
                made = sum(self._carry_out(task, scratch, tails) for task in tasks)
                with self.lock:
                    self.done_bytes += made
            for tail in tails.values():
                tail.flush()
        except OSError as error:
            code = "no-space" if error.errno in NO_SPACE else "write-failed"
            self.fault = WriteError(code, f"{error}. What was written was removed.")
        except BaseException as error:  # handed to the thread that waits, and raised there
            self.fault = error

    def _next(self) -> list[_Task]:
        with self.lock:
            return [] if self.fault is not None else list(islice(self.tasks, TASKS_TOGETHER))

    def _carry_out(self, task: _Task, scratch: Scratch, tails: dict[int, "_Tail"]) -> int:
        rows, made = None, 0
        for plan, slab, descriptor in task.slabs:
            if rows is None and slab.target.packed is None and len(task.slabs) > 1:
                buffer = scratch.rows(slab.last - slab.first, slab.target.n_cols)
                rows = read_target(slab.target, self.weights, slab.first, slab.last, buffer)
            tail = tails.setdefault(descriptor, _Tail(descriptor))
            place = tail.place(slab.start, slab.end - slab.start)
            data = make_slab(plan, self.weights, slab, scratch, rows, place=place)
            tail.add(place, data)
            made += slab.end - slab.start
        return made


@dataclass
class _Tail:
    """What a thread has made of a file and not written: the bytes `[start, end)`, in a buffer that begins with byte
    `base` of the file, a multiple of WRITE_BYTES."""

    descriptor: int
    buffer: Bytes = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    base: int = 0
    start: int = 0
    end: int = 0

    def place(self, start: int, length: int) -> Bytes:
        """Where the bytes `[start, start + length)` of the file are to be made."""
        if start != self.end:
            self.flush()
            self.base, self.start, self.end = start - start % WRITE_BYTES, start, start
        first = start - self.base
        if self.buffer.size < first + length:
            grown = np.empty(WRITE_BYTES + length, dtype=np.uint8)
            grown[: self.buffer.size] = self.buffer
            self.buffer = grown
        return self.buffer[first : first + length]

    def add(self, place: Bytes, data: bytes | memoryview) -> None:
        """The bytes made are kept, and written as far as they fill whole pieces."""
        if getattr(data, "obj", None) is not place:  # made elsewhere, or moved as it was
            place[:] = np.frombuffer(data, dtype=np.uint8)
        self.end += place.size
        whole = self.end - self.end % WRITE_BYTES
        if whole > self.base:
            self._write(whole)
            left = self.end - whole
            self.buffer[:left] = self.buffer[whole - self.base : self.end - self.base]
            self.base = whole

    def flush(self) -> None:
        """Nothing is left to be written."""
        self._write(self.end)

    def _write(self, end: int) -> None:
        left = self.buffer[self.start - self.base : end - self.base].data
        while left:
            written = os.pwrite(self.descriptor, left, self.start)
            left, self.start = left[written:], self.start + written


def _check(path: Path, layout: FileLayout) -> None:
    """The file is read as a reader would; WriteError `damaged-output` if it is not what was planned."""
    try:
        with FileSource(path) as source:
            is_gguf = layout.header_bytes[:4] == b"GGUF"
            entries = read_gguf_header(source).entries if is_gguf else read_safetensors_header(source).entries
            is_whole = source.size_bytes == layout.size_bytes
    except HeaderError as error:
        raise WriteError("damaged-output", f"{path.name} cannot be read again: {error}") from error
    by_place = sorted(layout.entries, key=lambda entry: (entry.start, entry.end))
    if not is_whole or list(entries) != by_place:
        raise WriteError("damaged-output", f"{path.name} is not what was planned. It was removed; run again.")
