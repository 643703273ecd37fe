"""Ways to read a target's rows where they are not simply the rows of one tensor: runs, transposes, shifted norms.

Each is what `Target.read` wants: (weights, first row, count) to float32 (count, n_cols). Only the rows asked for are
read, or for a transpose one column range of the source at a time; so a slab stays as small as it was. They are data,
so that what a family does to a tensor can also be undone (`restoring`).
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

from conversion.naming.base import Rows, Weights

Read = Callable[[Weights, int, int], Rows]

MAX_READ_ELEMENTS = 1 << 21
"""What a transpose holds of its source at once, beside the slab it fills."""

TRANSPOSED_SLAB_ELEMENTS = 1 << 23
"""Every slab of a transposed block reads the whole block, so its slabs are as long as memory allows: 32 MB."""


@dataclass(frozen=True)
class Run:
    """Rows `first`, `first + step`, … of a tensor, `count` of them."""

    source: str
    first: int
    count: int
    step: int = 1


@dataclass(frozen=True)
class Runs:
    """A `Read` that gives runs of rows, one after the other."""

    runs: tuple[Run, ...]

    def __call__(self, weights: Weights, first: int, count: int) -> Rows:
        ends = self._ends
        parts, row = [], first
        while row < first + count:
            number = bisect_right(ends, row)
            run = self.runs[number]
            start = row - (ends[number] - run.count)
            taken = min(run.count - start, first + count - row)
            parts.append(_strided(weights, run, start, taken))
            row += taken
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(run.count for run in self.runs))


@dataclass(frozen=True)
class Transposed:
    """A `Read` that gives columns of blocks of rows as rows; see `transposed`."""

    blocks: tuple[Run, ...]
    n_cols: int
    step: int = 1
    offset: int = 0

    def __call__(self, weights: Weights, first: int, count: int) -> Rows:
        parts, row = [], first
        while row < first + count:
            number, start = divmod(row, self.n_cols)
            taken = min(self.n_cols - start, first + count - row)
            begin = self.offset + self.step * start
            columns = slice(begin, begin + self.step * (taken - 1) + 1, self.step)
            parts.append(_columns(weights, self.blocks[number], columns))
            row += taken
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True)
class Shifted:
    """A `Read` that adds `by` to every value of a tensor, in its own precision if that is F16."""

    source: str
    by: int

    def __call__(self, weights: Weights, first: int, count: int) -> Rows:
        rows = weights.rows(self.source, first, count) + np.float32(self.by)
        if weights.entries[self.source].dtype == "F16":
            return rows.astype(np.float16).astype(np.float32)
        return rows


def of_runs(runs: Sequence[Run]) -> Runs:
    """The runs one after the other: heads sorted by what they are, rows left out, every other row."""
    return Runs(tuple(runs))


def _strided(weights: Weights, run: Run, start: int, count: int) -> Rows:
    first = run.first + start * run.step
    return weights.rows(run.source, first, (count - 1) * run.step + 1)[:: run.step]


def transposed(blocks: Sequence[Run], n_cols: int, *, step: int = 1, offset: int = 0) -> Transposed:
    """Columns `offset`, `offset + step`, … of each block of rows, one block after the other, as rows.

    `n_cols` of them are taken of each block: row r of the target is column `offset + step * (r % n_cols)` of block
    r // n_cols. Blocks have a `step` of 1.
    """
    return Transposed(tuple(blocks), n_cols, step, offset)


def rows_at_once(n_rows: int, n_cols: int) -> int:
    """`Target.rows_together` for transposed blocks of that size, so that few slabs read each block."""
    return max(1, min(n_rows, TRANSPOSED_SLAB_ELEMENTS // max(1, n_cols)))


def _columns(weights: Weights, block: Run, columns: slice) -> Rows:
    """float32 (number of columns, block.count): the columns of a block of rows, read a few rows at a time."""
    width = weights.entries[block.source].shape[-1]
    out = np.empty((len(range(*columns.indices(width))), block.count), dtype=np.float32)
    step = max(1, MAX_READ_ELEMENTS // width)
    for start in range(0, block.count, step):
        count = min(step, block.count - start)
        out[:, start : start + count] = weights.rows(block.source, block.first + start, count)[:, columns].T
    return out


def plus_one(source: str) -> Shifted:
    """The tensor with 1 added to every value, in the tensor's own precision if that is F16, as the reference adds."""
    return Shifted(source, 1)
