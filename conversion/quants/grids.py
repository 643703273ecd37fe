"""The lattice grids of the IQ types, and the tables ggml searches them with.

A grid is a chosen set of points; a group of 8 weights (IQ1, IQ2) or 4 (IQ3) becomes the number of one point. A point
is written in digits, one per weight. Decoding, digit k is level k of the type: 0x08, 0x19, 0x2b for IQ2. Quantising, it
is 2k + 1 times the scale (IQ2, IQ3), or k - 1 with a shift (IQ1). The digits of a group side by side, 2 or 3 bits each
and lowest first, are its *code*.

Rounding each weight by itself gives a code that mostly lies beside the grid. ggml then weighs the *neighbours* of that
code: the grid points at the one, two or three smallest distances from it, by (distance, number). The first of the best
wins, so their order decides bits.

The points are taken from the gguf package. The neighbours are computed here, as ggml does
(ggml-quants.c: iq2xs_init_impl, iq3xs_init_impl), in milliseconds and at first use.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

N_DISTANCES = {"IQ2_XXS": 2, "IQ2_XS": 2, "IQ2_S": 1, "IQ1_S": 3, "IQ3_XXS": 2, "IQ3_S": 3}
"""How many distinct distances ggml's list of neighbours takes in. IQ1_M uses the grid of IQ1_S."""


@dataclass(frozen=True)
class Grid:
    """One grid and its neighbours; every array is read-only.

    levels: float32 (n_levels,), what each digit decodes to.
    digits: uint8 (n_points, size), the points.
    digit_bits: bits that a digit takes in a code.
    point_at: int32 (n_codes,), the number of the point that a code is, -1 beside the grid.
    first, count: int32 (n_codes,), where a code's neighbours lie; both 0 for codes on the grid and with absent digits.
    neighbours: uint16, numbers of points.
    """

    levels: npt.NDArray[np.float32]
    digits: npt.NDArray[np.uint8]
    digit_bits: int
    point_at: npt.NDArray[np.int32]
    first: npt.NDArray[np.int32]
    count: npt.NDArray[np.int32]
    neighbours: npt.NDArray[np.uint16]

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """float32 (n_points, size): what each point decodes to, before scale and signs."""
        return self.levels[self.digits]


@cache
def grid(type_name: str) -> Grid:
    """The grid of an IQ1, IQ2 or IQ3 type, built at first use and kept."""
    if type_name == "IQ1_M":
        return grid("IQ1_S")
    levels, digits = _points(type_name)
    size = digits.shape[1]
    digit_bits = (len(levels) - 1).bit_length()
    codes = _codes(digits, digit_bits)
    point_at = np.full(1 << (digit_bits * size), -1, dtype=np.int32)
    point_at[codes] = np.arange(len(digits))
    beside = _all_points(len(levels), size)
    beside = beside[point_at[_codes(beside, digit_bits)] < 0]
    count_beside, neighbours = _nearest(beside, digits, N_DISTANCES[type_name])
    first, count = np.zeros_like(point_at), np.zeros_like(point_at)
    codes_beside = _codes(beside, digit_bits)
    count[codes_beside] = count_beside
    first[codes_beside] = np.cumsum(count_beside) - count_beside
    arrays = levels, digits, point_at, first, count, neighbours
    for array in arrays:
        array.setflags(write=False)
    return Grid(levels, digits, digit_bits, point_at, first, count, neighbours)


def _points(type_name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    # Imported here: only the IQ types need the package.
    from gguf import quants

    source = getattr(quants, type_name)
    source.init_grid()
    levels = np.array(source.grid_map, dtype=np.float32)
    values = np.asarray(source.grid, dtype=np.float32).reshape(source.grid_shape)
    return levels, (values[:, :, None] == levels).argmax(axis=2).astype(np.uint8)


def _codes(digits: npt.NDArray[np.uint8], digit_bits: int) -> npt.NDArray[np.int64]:
    shifts = digit_bits * np.arange(digits.shape[1])
    codes: npt.NDArray[np.int64] = (digits.astype(np.int64) << shifts).sum(axis=1)
    return codes


def _all_points(n_levels: int, size: int) -> npt.NDArray[np.uint8]:
    """Every group of digits there can be: (n_levels ** size, size)."""
    return np.indices((n_levels,) * size, dtype=np.uint8).reshape(size, -1).T


def _nearest(
    points: npt.NDArray[np.uint8], digits: npt.NDArray[np.uint8], n_distances: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """For each of `points` how many neighbours it has, and all their numbers one list after the other."""
    a, b = points.astype(np.float32), digits.astype(np.float32)
    # Small whole numbers: exact in float32, whatever the order of the sums.
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    distance = squares.astype(np.uint8)
    limit = distance.min(axis=1, keepdims=True)
    for _ in range(n_distances - 1):
        limit = np.where(distance > limit, distance, np.uint8(255)).min(axis=1, keepdims=True)
    row, number = np.nonzero(distance <= limit)
    order = np.lexsort((number, distance[row, number], row))
    return np.bincount(row, minlength=len(points)), number[order].astype(np.uint16)
