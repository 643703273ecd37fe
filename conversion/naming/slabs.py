"""The bytes of a planned GGUF, from any byte on, slab by slab: memory is bounded whatever the size of a tensor.

A slab is a run of whole rows, read by one range, turned into float32, arranged, quantised. Slabs are worked on by a few
threads ahead of the reader (numpy and the kernels let go of the GIL), and come out in order: the bytes never depend on
the number of threads. Each thread works in buffers of its own that it keeps: fresh memory for every slab costs more in
page faults than Q8_0 costs in arithmetic.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from conversion.formats.imatrix import Imatrix
from conversion.formats.layout import FileLayout, TensorEntry
from conversion.formats.weights import Rows, Weights
from conversion.naming.base import Target
from conversion.quants import QuantError, check_finite, converter, quantize_into, type_by_name

SLAB_ELEMENTS = 1 << 21
"""8 MB of float32. Two threads with their temporaries stay far below 100 MB."""

N_THREADS = 2

EXPONENTS: dict[str, np.unsignedinteger[Any]] = {
    "F32": np.uint32(0x7F800000), "F16": np.uint16(0x7C00), "BF16": np.uint16(0x7F80),
}  # fmt: skip

Bytes = npt.NDArray[np.uint8]


class FilePlan(Protocol):
    """A file to be: its layout, and what fills each entry, in the same order."""

    @property
    def layout(self) -> FileLayout: ...

    @property
    def targets(self) -> tuple[Target, ...]: ...

    @property
    def imatrix(self) -> Imatrix | None: ...


@dataclass(frozen=True)
class Piece:
    """Some bytes of the file, and which tensor they belong to ("" for header and padding)."""

    tensor: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Slab:
    """Rows `[first, last)` of a target, and the bytes `[start, end)` of the file that they become."""

    target: Target
    type_name: str
    first: int
    last: int
    start: int
    end: int


@dataclass
class Scratch(threading.local):
    """Buffers that one thread fills again and again; what it hands out is good until it is asked again."""

    _rows: Rows = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    _space: Bytes = field(default_factory=lambda: np.empty(0, dtype=np.uint8))

    def rows(self, n_rows: int, n_cols: int) -> Rows:
        if self._rows.size < n_rows * n_cols:
            self._rows = np.empty(n_rows * n_cols, dtype=np.float32)
        return self._rows[: n_rows * n_cols].reshape(n_rows, n_cols)

    def space(self, n_bytes: int) -> Bytes:
        if self._space.size < n_bytes:
            self._space = np.empty(n_bytes, dtype=np.uint8)
        return self._space[:n_bytes]


def file_pieces(
    plan: FilePlan,
    weights: Weights,
    start: int = 0,
    end: int | None = None,
    *,
    slab_elements: int = SLAB_ELEMENTS,
    n_threads: int = N_THREADS,
) -> Iterator[Piece]:
    """Bytes `[start, end)` of the file, in order. Any two calls give the same bytes for the same range.

    Raises QuantError, naming the tensor, for weights that ggml refuses; HeaderError if the source is cut.
    """
    end = plan.layout.size_bytes if end is None else end
    position = start
    for piece in ahead(_tasks(plan, weights, start, end, slab_elements), n_threads):
        data = piece.data[: end - position]
        position += len(data)
        if data:
            yield Piece(piece.tensor, data)
        if position >= end:
            return


def file_slabs(plan: FilePlan, slab_elements: int = SLAB_ELEMENTS) -> Iterator[Slab]:
    """Everything in the file that is not header or padding, in order; any slab can be made alone."""
    for target, entry in zip(plan.targets, plan.layout.entries, strict=True):
        yield from target_slabs(target, entry, slab_elements)


def make_slab(
    plan: FilePlan,
    weights: Weights,
    slab: Slab,
    scratch: Scratch,
    rows: Rows | None = None,
    *,
    place: Bytes | None = None,
) -> bytes | memoryview:
    """The bytes of a slab. A memoryview lies in `scratch` and is good until the same thread makes another.

    `rows` are the slab's rows where somebody has read them already. `place`, uint8 (n_bytes,), may be filled in place
    of `scratch`; what comes back is then `place.data`.
    """
    target, count = slab.target, slab.last - slab.first
    if target.packed is not None:
        return target.packed.read(weights, slab.first, count)
    if place is None:
        place = scratch.space(slab.end - slab.start)
    if rows is None and (stored := _from_stored(target, weights, slab, place)) is not None:
        return stored
    floats = _floats_in(place, slab)
    try:
        if rows is None:
            rows = _as_floats(target, weights, slab)
        if rows is None:
            into = scratch.rows(count, target.n_cols) if floats is None else floats
            rows = read_target(target, weights, slab.first, slab.last, into)
        if slab.type_name == "F32" and rows.dtype == np.float32 and rows.flags.c_contiguous:
            check_finite(rows)
            return place.data if rows is floats else rows.data.cast("B")
        out = place.reshape(count, -1)
        quantize_into(type_by_name(slab.type_name), rows, out, _importance(plan, slab))
    except QuantError as error:
        raise QuantError(
            error.code,
            f"{target.origin}, rows {slab.first} to {slab.last}, as {slab.type_name}: {error.message}",
        ) from error
    return place.data


def _from_stored(target: Target, weights: Weights, slab: Slab, place: Bytes) -> bytes | memoryview | None:
    """The slab's bytes where they are stored so already, or in another 16 bits, and all finite; None elsewhere."""
    entry = weights.entries.get(target.source)
    if entry is None or target.arrange or target.read or slab.type_name not in EXPONENTS:
        return None
    convert = converter(entry.dtype, type_by_name(slab.type_name))
    if convert is None and entry.dtype != slab.type_name:
        return None
    data = weights.read_rows(target.source, slab.first, slab.last - slab.first)
    if convert is not None:
        shape = (slab.last - slab.first, -1)
        is_made = convert(np.frombuffer(data, dtype=np.uint8).reshape(shape), place.reshape(shape))
        return place.data if is_made else None
    exponent = EXPONENTS[slab.type_name]
    bits = np.frombuffer(data, dtype=exponent.dtype)
    # NaN and infinity have all bits of the exponent set; the way through float32 says where they are.
    return None if bits.size and (bits & exponent).max() == exponent else data


def _as_floats(target: Target, weights: Weights, slab: Slab) -> Rows | None:
    """The slab's rows, read-only and without a copy, where they are stored as float32 already; None elsewhere."""
    entry = weights.entries.get(target.source)
    if entry is None or target.arrange or target.read or entry.dtype != "F32":
        return None
    data = weights.read_rows(target.source, slab.first, slab.last - slab.first)
    return np.frombuffer(data, dtype="<f4").reshape(slab.last - slab.first, target.n_cols)


def _floats_in(place: Bytes, slab: Slab) -> Rows | None:
    """`place` as the rows that it is to hold; None where it holds no float32, or not where a CPU wants them."""
    if slab.type_name != "F32":
        return None
    rows = place.view(np.float32).reshape(slab.last - slab.first, -1)
    return rows if rows.flags.aligned else None


def read_target(target: Target, weights: Weights, first: int, last: int, out: Rows | None = None) -> Rows:
    """Rows `[first, last)` of a target as float32 (last - first, n_cols), from whatever it is made of.

    `out` may be filled and returned; what comes may as well be another array.
    """
    if target.values is not None:
        return target.values.reshape(target.n_rows, target.n_cols)[first:last]
    if target.read is not None:
        return target.read(weights, first, last - first)
    if target.sources:
        rows = _stacked(target, weights, first, last, out)
    else:
        rows = weights.rows(target.source, first, last - first, out=out)
    return rows if target.arrange is None else target.arrange(rows)


Task = Callable[[], Piece]
Made = TypeVar("Made")


def _tasks(plan: FilePlan, weights: Weights, start: int, end: int, slab_elements: int) -> Iterator[Task]:
    layout, scratch = plan.layout, Scratch()
    yield lambda: Piece("", layout.header_bytes[start:])
    ends = [*(entry.start for entry in layout.entries), layout.size_bytes][1:]
    for target, entry, until in zip(plan.targets, layout.entries, ends, strict=True):
        if until <= start:
            continue
        if entry.start >= end:
            return
        for slab in target_slabs(target, entry, slab_elements):
            if slab.end > start:
                yield partial(_piece, plan, weights, slab, scratch, max(0, start - slab.start))
        yield partial(Piece, "", bytes(until - max(entry.end, start)))


def _piece(plan: FilePlan, weights: Weights, slab: Slab, scratch: Scratch, skipped: int) -> Piece:
    return Piece(slab.target.name, bytes(make_slab(plan, weights, slab, scratch)[skipped:]))


def target_slabs(target: Target, entry: TensorEntry, slab_elements: int) -> Iterator[Slab]:
    """The runs of rows a target is cut into; none cuts a group of rows, none spans two matrices of a stack."""
    if not target.n_elements:
        return
    step = max(1, slab_elements // (target.n_cols * target.rows_together)) * target.rows_together
    height = target.shape[-2] if len(target.shape) > 2 else target.n_rows
    row_bytes = entry.length // target.n_rows
    for base in range(0, target.n_rows, height):
        for first, last in pairwise([*range(base, base + height, step), base + height]):
            start, end = entry.start + first * row_bytes, entry.start + last * row_bytes
            yield Slab(target, entry.dtype, first, last, start, end)


def _importance(plan: FilePlan, slab: Slab) -> Rows | None:
    """The imatrix' vector for the matrix that the slab is part of."""
    target = slab.target
    if plan.imatrix is None or not plan.imatrix.fits(target.name, target.shape):
        return None
    height = target.shape[-2] if len(target.shape) > 1 else 1
    return plan.imatrix.vector(target.name, slab.first // height, target.n_cols)


def _stacked(target: Target, weights: Weights, first: int, last: int, out: Rows | None) -> Rows:
    """Row r of the stack is row r % height of tensor r // height."""
    height = target.n_rows // len(target.sources)
    rows = np.empty((last - first, target.n_cols), dtype=np.float32) if out is None else out
    row = first
    while row < last:
        number, start = divmod(row, height)
        count = min(height - start, last - row)
        weights.rows(target.sources[number], start, count, out=rows[row - first : row - first + count])
        row += count
    return rows


def ahead(tasks: Iterable[Callable[[], Made]], n_threads: int) -> Iterator[Made]:
    """What the tasks return, in their order, while the next few are already being worked on."""
    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="slab")
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
