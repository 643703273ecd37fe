"""How far each tensor is from its parent's, and how far it would be if we had quantised it: one pass, any size.

Quantising costs something, and what it costs depends on the weights. So a tensor is not judged by its error but by the
ratio of its error to that of our own quantisation of the same rows to the same type, without an importance matrix
(kernels of conversion.quants, bit for bit llama.cpp's). A plain quantisation has a ratio of 1 and the very bytes of
ours; one with an importance matrix trades error between columns; zeros, other rows, or another model's weights are
several times farther.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversion.formats.layout import TensorEntry
from conversion.formats.weights import Rows, n_columns, n_rows
from conversion.inference.limits import read_limits
from conversion.inference.strays import Suspect, count_strays, worst
from conversion.inference.tensors import (
    CHUNK_ELEMENTS,
    Floats64,
    Statistics,
    rounded,
    squares_of,
    widened,
)
from conversion.quants import TYPES, QuantError, dequantize, quantize

N_SAMPLED = 1 << 15
"""Values of a tensor that we quantise ourselves: their error is then known to about half a percent."""

NOISE = 1e-7
"""Errors below this share of a tensor's rms are those of float32 arithmetic."""

FLOAT_NOISE = 1.2e-3
"""The rms of rounding to BF16: what a float type may differ by on whatever way its numbers took through 16 bits."""

FLOATS = ("F32", "F16", "BF16", "F64")

MAX_LOST_TRIED = 64
"""Rows of a slab that look lost and are quantised by us, to see whether the type loses them all by itself."""

COLUMNS = ("share_identical", "rmse", "cosine", "max_error", "n_lost_rows", "ratio", "share_as_ours")


@dataclass
class Difference:
    """Sums over the values compared so far; those that begin with `sample` over the rows that we quantised too."""

    n_values: int = 0
    n_identical: int = 0
    squares: float = 0.0
    parent_squares: float = 0.0
    max_error: float = 0.0
    n_lost_rows: int = 0
    sample_squares: float = 0.0
    sample_own_squares: float = 0.0
    n_sample_bytes: int = 0
    n_sample_same_bytes: int = 0
    n_sample_values: int = 0
    n_strays: int = 0
    noise: float = NOISE
    suspects: list[Suspect] = field(default_factory=list)

    def add(self, other: "Difference") -> None:
        for name in vars(self):
            if name not in ("max_error", "noise", "suspects"):
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.max_error = max(self.max_error, other.max_error)
        self.suspects = worst(self.suspects + other.suspects)

    @property
    def rmse(self) -> float:
        return math.sqrt(self.squares / max(1, self.n_values))

    @property
    def share_identical(self) -> float:
        return self.n_identical / max(1, self.n_values)

    @property
    def noise_squares(self) -> float:
        """The squares that arithmetic may leave in the sample."""
        mean_square = self.parent_squares / max(1, self.n_values)
        return self.n_sample_values * mean_square * self.noise**2

    @property
    def ratio(self) -> float | None:
        """Its error over that of our own quantisation; None where we cannot make the type."""
        if not self.n_sample_bytes:
            return None
        if self.sample_squares <= self.noise_squares >= self.sample_own_squares:
            return 1.0
        return math.sqrt(self.sample_squares / max(self.sample_own_squares, self.noise_squares, 1e-300))

    @property
    def share_as_ours(self) -> float | None:
        """The share of bytes that our own quantisation has as well."""
        return self.n_sample_same_bytes / self.n_sample_bytes if self.n_sample_bytes else None

    def cosine(self, artifact_squares: float) -> float:
        """Of the artifact's values and the parent's, by the law of cosines; 0 where one side is all zero."""
        product = math.sqrt(artifact_squares * self.parent_squares)
        dot = (artifact_squares + self.parent_squares - self.squares) / 2
        return dot / product if product else 0.0

    def as_row(self, found: Statistics) -> list[Any]:
        """The end of a table's line, in the order of `COLUMNS`."""
        ratio, same = self.ratio, self.share_as_ours
        figures = (self.share_identical, self.rmse, self.cosine(found.squares), self.max_error)
        return [
            *map(rounded, figures),
            self.n_lost_rows,
            *(None if x is None else rounded(x) for x in (ratio, same)),
        ]


@dataclass(frozen=True)
class Compared:
    """The sums over some rows, and the indices of those that look lost."""

    sums: Difference
    lost: NDArray[np.int64]


def compare(ours: Rows, theirs: Rows) -> Compared:
    """Of two float32 (n, n_cols)."""
    sums, lost = Difference(), []
    step = max(1, CHUNK_ELEMENTS // ours.shape[1])
    with np.errstate(all="ignore"):  # NaN and infinity are another check's business
        for first in range(0, len(ours), step):
            part = _compare_chunk(ours[first : first + step], theirs[first : first + step])
            sums.add(part.sums)
            lost.append(part.lost + first)
    return Compared(sums, np.concatenate(lost))


def _compare_chunk(ours: Rows, theirs: Rows) -> Compared:
    n_identical = int(np.count_nonzero(ours.view(np.uint32) == theirs.view(np.uint32)))
    parent = _row_squares(theirs)
    sums = Difference(ours.size, n_identical, parent_squares=float(parent.sum()))
    if n_identical == ours.size:
        return Compared(sums, np.empty(0, np.int64))
    delta = ours - theirs
    sums.max_error = float(max(delta.max(), -delta.min()))
    apart = _row_squares(delta)
    sums.squares = float(apart.sum())
    return Compared(sums, np.flatnonzero(apart > read_limits().tensors.lost_row * parent))


def _row_squares(rows: Rows) -> Floats64:
    return squares_of(widened(rows))


def sampled_rows(entry: TensorEntry) -> NDArray[np.int64]:
    """Indices of rows, spread evenly over the tensor, about `N_SAMPLED` values together; the first is always there."""
    count = min(n_rows(entry), max(1, N_SAMPLED // n_columns(entry)))
    return np.unique(np.linspace(0, n_rows(entry) - 1, count).astype(np.int64))


def quantised_by_us(theirs: Rows, dtype: str) -> NDArray[np.uint8] | None:
    """The bytes that our plain quantisation makes of the parent's rows; None where we cannot make the type of them."""
    kind = TYPES.get(dtype)
    if kind is None or kind.quantize_blocks is None:
        return None
    # Types that ggml makes with an importance matrix only: every column is as important as the next.
    equal = np.ones(theirs.shape[1], np.float32) if kind.needs_imatrix else None
    try:
        return quantize(theirs, dtype, equal)
    except QuantError:  # values that the type cannot hold: then nothing can be said by comparison
        return None


def compare_with_ours(stored: bytes, ours: Rows, theirs: Rows, dtype: str) -> Difference:
    """What our own quantisation of the parent's rows is beside `stored`, the artifact's bytes of them."""
    own = quantised_by_us(theirs, dtype)
    if own is None:
        return Difference()
    bytes_there = np.frombuffer(stored, np.uint8).reshape(own.shape)
    return Difference(
        sample_squares=_squares(ours, theirs),
        sample_own_squares=_squares(dequantize(own, dtype, theirs.shape[1]), theirs),
        n_sample_bytes=own.size,
        n_sample_same_bytes=int(np.count_nonzero(own == bytes_there)),
        n_sample_values=theirs.size,
    )


def count_lost(ours: Rows, theirs: Rows, lost: NDArray[np.int64], dtype: str) -> int:
    """How many of the rows that look lost are not lost by the type itself; of many, by a sample of them."""
    tried = lost[:: max(1, len(lost) // MAX_LOST_TRIED)]
    rows = np.ascontiguousarray(theirs[tried])
    own = quantised_by_us(rows, dtype) if len(tried) else None
    if own is None:
        return len(lost)
    apart = _row_squares(ours[tried] - rows)
    own_apart = _row_squares(dequantize(own, dtype, rows.shape[1]) - rows)
    return round(len(lost) * int((apart > 2 * own_apart).sum()) / len(tried))


def settle_suspects(sums: Difference, dtype: str, read_row: Callable[[int], bytes]) -> None:
    """`n_strays` is counted, and the rows are let go. Only of a tensor that has the bytes of ours, but for a few."""
    found, sums.suspects = sums.suspects, []
    if found and (sums.share_as_ours or 0.0) >= read_limits().tensors.as_ours_pass:
        own = quantised_by_us(np.stack([one.theirs for one in found]), dtype)
        if own is not None:
            stored = np.frombuffer(b"".join(read_row(one.row) for one in found), np.uint8).reshape(own.shape)
            sums.n_strays = count_strays(found, stored, own, dtype, sums.noise)


def _squares(rows: Rows, others: Rows) -> float:
    with np.errstate(all="ignore"):
        return float(_row_squares(rows - others).sum())
