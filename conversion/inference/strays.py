"""Single values that no quantisation puts there: a flipped bit in a tensor that is right otherwise.

One weight of 65,536 is lost in what quantising costs all the others: neither a tensor's error nor the KL divergence
shows it. Within its own 32 values it stands out. So the few rows where an error is largest beside the weights around
it are quantised by us, and compared block by block. A plain quantisation has the very errors of ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conversion.formats.weights import Rows
from conversion.inference.tensors import CHUNK_ELEMENTS
from conversion.quants import dequantize

N_SUSPECTS = 8
"""Rows of a tensor that are quantised by us to look for strays."""

BLOCK = 32
FARTHER = 4.0
"""A value is a stray when it is this many times farther off than the worst of ours in its block: the last bit of a
quantised weight moves it by three times half a step, and changes nothing that can be seen."""

SAME_BYTES = 0.25
"""A row of which less bytes than this share are ours is another row: exchanged, or made anew on purpose."""


@dataclass(frozen=True)
class Suspect:
    """One row, the artifact's and the parent's. `score` is its largest error beside the largest weight near it."""

    score: float
    row: int
    ours: Rows
    theirs: Rows


def suspects(ours: Rows, theirs: Rows, first_row: int = 0) -> list[Suspect]:
    """The few rows of two float32 (n, n_cols) that most look as if they held a stray; none where both are the same."""
    found: list[Suspect] = []
    step = max(1, CHUNK_ELEMENTS // ours.shape[1])
    with np.errstate(all="ignore"):
        for first in range(0, len(ours), step):
            found += _of_chunk(ours[first : first + step], theirs[first : first + step], first_row + first)
    return worst(found)


def worst(found: list[Suspect]) -> list[Suspect]:
    return sorted(found, key=lambda one: -one.score)[:N_SUSPECTS]


def _of_chunk(ours: Rows, theirs: Rows, first_row: int) -> list[Suspect]:
    scores = (_largest(ours - theirs) / np.maximum(_largest(theirs), np.float32(1e-30))).max(axis=1)
    rows = np.argsort(scores)[-N_SUSPECTS:]
    return [
        Suspect(float(scores[row]), first_row + int(row), ours[row].copy(), theirs[row].copy())
        for row in rows
        if scores[row] > 0
    ]


def count_strays(
    found: list[Suspect], stored: NDArray[np.uint8], own: NDArray[np.uint8], dtype: str, noise: float
) -> int:
    """Blocks with a stray, in suspects that are right otherwise.

    stored: their bytes. own: those that our quantisation makes of their parent's rows.
    """
    ours, theirs = (np.stack([getattr(one, name) for one in found]) for name in ("ours", "theirs"))
    with np.errstate(all="ignore"):
        apart = _largest(ours - theirs)
        own_apart = _largest(dequantize(own, dtype, theirs.shape[1]) - theirs)
        limit = np.maximum(FARTHER * own_apart, noise * _largest(theirs))
        is_right = (stored == own).mean(axis=1) >= SAME_BYTES
        return int(np.count_nonzero((apart > limit)[is_right]))


def _largest(rows: Rows) -> Rows:
    """float32 (n, n_blocks): the largest absolute value of each block; of a whole row that blocks do not divide."""
    width = BLOCK if rows.shape[1] % BLOCK == 0 else rows.shape[1]
    blocks: Rows = np.abs(rows.reshape(len(rows), -1, width))
    return np.asarray(blocks.max(axis=2))
