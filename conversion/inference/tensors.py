"""What can be said of weights without running them: one pass over every tensor, a few slabs in memory at a time.

A tensor is seen as rows of its last dimension and turned into float32, as an engine would. Sums are kept in float64.
A row longer than `WIDE` is read in pieces: then nothing is said of its rows, everything of its values.
"""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from conversion.formats.gguf import TYPE_BY_NAME
from conversion.formats.layout import TensorEntry
from conversion.formats.weights import NUMPY_DTYPES, Rows, Weights, decode_rows, n_columns, n_rows
from conversion.quants import TYPES

SLAB_ELEMENTS = 1 << 20
"""4 MB of float32 from the artifact, as much from its parent, and as much again where they are compared."""

CHUNK_ELEMENTS = 1 << 16
"""What is measured at once: 256 KB and its float64 copy stay in the cache of one core; twice as quick as a slab."""

WIDE = 1 << 22

Floats64 = NDArray[np.float64]


@dataclass
class Statistics:
    """Of the values seen so far. `minimum`, `maximum` and the sums are of the finite ones only."""

    n_values: int = 0
    n_nan: int = 0
    n_infinite: int = 0
    n_zero: int = 0
    n_rows: int = 0
    n_constant_rows: int = 0
    n_zero_rows: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    total: float = 0.0
    squares: float = 0.0

    @property
    def n_finite(self) -> int:
        return self.n_values - self.n_nan - self.n_infinite

    @property
    def mean(self) -> float:
        return self.total / max(1, self.n_finite)

    @property
    def rms(self) -> float:
        return math.sqrt(self.squares / max(1, self.n_finite))

    @property
    def zero_share(self) -> float:
        return self.n_zero / max(1, self.n_values)

    def add(self, other: "Statistics") -> None:
        for name in vars(self):
            if name not in ("minimum", "maximum"):
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)


class Readable(Protocol):
    """Weights whose bytes can be read from anywhere in a tensor."""

    def read_bytes(self, name: str, start: int, length: int) -> bytes: ...


@dataclass(frozen=True)
class Run:
    """Rows `[first, first + count)`; of a wide tensor the bytes `[start, start + length)` instead."""

    first: int
    count: int
    start: int = 0
    length: int = 0


def is_readable(weights: Weights, entry: TensorEntry) -> bool:
    """Whether its values can be had: the dtype is one that we decode, and no more than a slab is needed at a time."""
    is_decoded = entry.dtype in TYPES or entry.dtype in NUMPY_DTYPES
    return is_decoded and entry.n_elements > 0 and (not is_wide(entry) or hasattr(weights, "read_bytes"))


def is_wide(entry: TensorEntry) -> bool:
    return n_columns(entry) > WIDE


def runs_of(entry: TensorEntry, rows_together: int = 1) -> Iterator[Run]:
    """The tensor in slabs; none cuts a group of `rows_together` rows."""
    if is_wide(entry):
        yield from _pieces_of(entry)
        return
    step = max(1, SLAB_ELEMENTS // (n_columns(entry) * rows_together)) * rows_together
    for first in range(0, n_rows(entry), step):
        yield Run(first, min(step, n_rows(entry) - first))


def _pieces_of(entry: TensorEntry) -> Iterator[Run]:
    """Whole blocks, about a slab of them at a time."""
    kind = TYPE_BY_NAME.get(entry.dtype)
    block_bytes = kind.type_size if kind is not None else entry.length // entry.n_elements
    block_size = kind.block_size if kind is not None else 1
    step = SLAB_ELEMENTS // block_size * block_bytes
    for start in range(0, entry.length, step):
        yield Run(0, 0, start, min(step, entry.length - start))


def read_run(weights: Weights, entry: TensorEntry, run: Run, out: Rows | None = None) -> Rows:
    """float32 (count, n_cols) of a run; of a piece of a wide tensor, one row of whatever is in it."""
    with np.errstate(all="ignore"):  # hostile scales overflow; what comes of it is what we look for
        if not run.length:
            return weights.rows(entry.name, run.first, run.count, out)
        readable: Readable = weights  # type: ignore[assignment]  # every container but merged ones, which have no wide rows
        data = readable.read_bytes(entry.name, run.start, run.length)
        n_values = run.length * entry.n_elements // entry.length
        return decode_rows(data, TensorEntry(entry.name, entry.dtype, (n_values,), 0, run.length))


def measure(rows: Rows) -> Statistics:
    """The statistics of float32 (n, n_cols); CPU time is that of reading them about six times from cache."""
    found = Statistics()
    step = max(1, CHUNK_ELEMENTS // rows.shape[1])
    for first in range(0, len(rows), step):
        found.add(_measure_chunk(rows[first : first + step]))
    return found


def _measure_chunk(rows: Rows) -> Statistics:
    low, high = rows.min(axis=1), rows.max(axis=1)  # NaN goes through both
    found = Statistics(n_values=rows.size, n_rows=len(rows))
    found.n_zero = int(np.count_nonzero(rows == 0))
    is_constant = low == high
    found.n_constant_rows = int(is_constant.sum())
    found.n_zero_rows = int((is_constant & (low == 0)).sum())
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        finite = rows[np.isfinite(rows)]
        found.n_nan = int(np.isnan(rows).sum())
        found.n_infinite = rows.size - finite.size - found.n_nan
        rows = finite
    if rows.size:
        values = widened(rows)
        found.minimum, found.maximum = float(rows.min()), float(rows.max())
        found.total, found.squares = float(values.sum()), float(squares_of(values).sum())
    return found


_scratch = threading.local()


def widened(rows: Rows) -> Floats64:
    """The same in float64, in memory of this thread that the next call fills again: fresh memory for every chunk
    costs more in page faults than the arithmetic."""
    if getattr(_scratch, "wide", np.empty(0)).size < rows.size:
        _scratch.wide = np.empty(max(rows.size, CHUNK_ELEMENTS))
    wide: Floats64 = _scratch.wide[: rows.size].reshape(rows.shape)
    np.copyto(wide, rows)
    return wide


def squares_of(wide: Floats64) -> Floats64:
    """The sum of squares of each row. Not by BLAS, which starts threads that spin."""
    rows = wide.reshape(1, -1) if wide.ndim == 1 else wide
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def rounded(value: float) -> float | None:
    """Six digits, so that a table of thousands stays small; None where there is no number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def as_row(entry: TensorEntry, found: Statistics) -> list[Any]:
    """One line of the table, in the order of `COLUMNS`."""
    figures = (found.zero_share, found.minimum, found.maximum, found.mean, found.rms)
    counts = [found.n_nan, found.n_infinite, found.n_constant_rows, found.n_zero_rows]
    return [entry.name, entry.dtype, list(entry.shape), *counts, *map(rounded, figures)]


COLUMNS = (
    "name", "dtype", "shape", "n_nan", "n_infinite", "n_constant_rows", "n_zero_rows", "zero_share", "minimum",
    "maximum", "mean", "rms",
)  # fmt: skip
