"""The bytes of a planned GGUF, from any byte on, slab by slab: memory is bounded whatever the size of a tensor.

A slab is a run of whole rows, read by one range, turned into float32, arranged, quantised. Slabs are worked on by a few
threads ahead of the reader (numpy lets go of the GIL), and come out in order: the bytes never depend on the number of
threads.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from conversion.formats.gguf import TYPE_BY_NAME
from conversion.formats.weights import Rows, Weights
from conversion.naming.base import Target
from conversion.naming.plan import Plan
from conversion.quants import QuantError, quantize

SLAB_ELEMENTS = 1 << 21
"""8 MB of float32. Two threads with their temporaries stay far below 100 MB."""

N_THREADS = 2


@dataclass(frozen=True)
class Piece:
    """Some bytes of the file, and which tensor they belong to ("" for header and padding)."""

    tensor: str
    data: bytes


def file_pieces(
    plan: Plan,
    weights: Weights,
    start: int = 0,
    end: int | None = None,
    *,
    slab_elements: int = SLAB_ELEMENTS,
) -> Iterator[Piece]:
    """Bytes `[start, end)` of the file, in order. Any two calls give the same bytes for the same range.

    Raises QuantError, naming the tensor, for weights that ggml refuses; HeaderError if the source is cut.
    """
    end = plan.layout.size_bytes if end is None else end
    position = start
    for piece in _ahead(_tasks(plan, weights, start, end, slab_elements)):
        data = piece.data[: end - position]
        position += len(data)
        if data:
            yield Piece(piece.tensor, data)
        if position >= end:
            return


Task = Callable[[], Piece]


def _tasks(plan: Plan, weights: Weights, start: int, end: int, slab_elements: int) -> Iterator[Task]:
    layout = plan.layout
    yield lambda: Piece("", layout.header_bytes[start:])
    ends = [*(entry.start for entry in layout.entries), layout.size_bytes][1:]
    for target, entry, until in zip(plan.targets, layout.entries, ends, strict=True):
        if until <= start:
            continue
        if entry.start >= end:
            return
        row_bytes = TYPE_BY_NAME[entry.dtype].row_bytes(target.n_cols)
        for first, last in _slabs(target, slab_elements):
            skipped = start - entry.start - first * row_bytes
            if entry.start + last * row_bytes > start:
                yield partial(
                    _piece, target, entry.dtype, weights, rows=(first, last), skipped=max(0, skipped)
                )
        yield partial(Piece, "", bytes(until - max(entry.end, start)))


def _slabs(target: Target, slab_elements: int) -> Iterator[tuple[int, int]]:
    """The runs of rows a target is cut into; none cuts a group of rows, none spans two matrices of a stack."""
    step = max(1, slab_elements // (target.n_cols * target.rows_together)) * target.rows_together
    height = target.shape[-2] if len(target.shape) > 2 else target.n_rows
    for base in range(0, target.n_rows, height):
        yield from pairwise([*range(base, base + height, step), base + height])


def _piece(target: Target, type_name: str, weights: Weights, *, rows: tuple[int, int], skipped: int) -> Piece:
    return Piece(target.name, _slab(target, type_name, weights, *rows)[skipped:])


def _slab(target: Target, type_name: str, weights: Weights, first: int, last: int) -> bytes:
    if target.packed is not None:
        return target.packed.read(weights, first, last - first)
    try:
        return quantize(read_target(target, weights, first, last), type_name).tobytes()
    except QuantError as error:
        raise QuantError(
            error.code, f"{target.origin}, rows {first} to {last}, as {type_name}: {error.message}"
        ) from error


def read_target(target: Target, weights: Weights, first: int, last: int) -> Rows:
    """Rows `[first, last)` of a target as float32 (last - first, n_cols), from whatever it is made of."""
    if target.values is not None:
        return target.values.reshape(target.n_rows, target.n_cols)[first:last]
    if target.read is not None:
        return target.read(weights, first, last - first)
    if target.sources:
        rows = _stacked(target, weights, first, last)
    else:
        rows = weights.rows(target.source, first, last - first)
    return rows if target.arrange is None else target.arrange(rows)


def _stacked(target: Target, weights: Weights, first: int, last: int) -> Rows:
    """Row r of the stack is row r % height of tensor r // height."""
    height = target.n_rows // len(target.sources)
    out = np.empty((last - first, target.n_cols), dtype=np.float32)
    row = first
    while row < last:
        number, start = divmod(row, height)
        count = min(height - start, last - row)
        weights.rows(target.sources[number], start, count, out=out[row - first : row - first + count])
        row += count
    return out


def _ahead(tasks: Iterable[Task]) -> Iterator[Piece]:
    """What the tasks return, in their order, while the next few are already being worked on."""
    waiting: deque[Future[Piece]] = deque()
    pool = ThreadPoolExecutor(N_THREADS, thread_name_prefix="slab")
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) > N_THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
