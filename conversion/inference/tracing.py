"""Where the rows of a tensor that is not its parent's come from: another order, another layer, or nowhere.

Only tensors that were found wanting are looked at, a few rows of each. A row is recognised by its direction, which even
two bits keep: the cosine with its own row is above 0.9, with any other near 0.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from conversion.formats.layout import TensorEntry
from conversion.formats.weights import Rows, Weights, n_rows
from conversion.inference.parents import ParentTensors
from conversion.inference.tensors import SLAB_ELEMENTS, squares_of

N_PICKED = 16
ALIKE = 0.8
"""The least cosine of a row with itself after quantisation to two bits, with room; rows of another tensor have 0.1."""

MOST = 0.5
"""The share of the picked rows that must be recognised somewhere else."""

MAX_ELEMENTS_SOUGHT = 1 << 28
"""A larger tensor is not searched for rows in another order."""


def trace(weights: Weights, entry: TensorEntry, parent: ParentTensors) -> str:
    """One sentence about rows that are elsewhere in the parent; "" where they are recognised nowhere."""
    picked = np.unique(np.linspace(0, n_rows(entry) - 1, N_PICKED).astype(np.int64))
    ours = _directions(np.concatenate([weights.rows(entry.name, int(row), 1) for row in picked]))
    if not ours.any():
        return ""
    if other := _other_tensor(ours, picked, entry, parent):
        return f"it holds the rows of {other}"
    if n_rows(entry) > 1 and entry.n_elements <= MAX_ELEMENTS_SOUGHT:
        at = _places(ours, entry, parent)
        moved = (at >= 0) & (at != picked)
        if moved.sum() > MOST * len(picked):
            row = int(np.argmax(moved))
            return f"its rows are in another order: row {picked[row]} is row {at[row]} of the parent's"
    return ""


def _other_tensor(ours: Rows, picked: NDArray[np.int64], entry: TensorEntry, parent: ParentTensors) -> str:
    """The parent's tensor of the same shape whose rows at the same places these are."""
    for name in _candidates(entry, parent):
        theirs = np.concatenate([parent.rows(name, int(row), 1) for row in picked])
        cosines = np.einsum("ij,ij->i", ours, _directions(theirs))
        if (cosines > ALIKE).sum() > MOST * len(picked):
            return name
    return ""


def _candidates(entry: TensorEntry, parent: ParentTensors) -> Iterator[str]:
    """Those of the same shape, first the same tensor of other layers."""
    stem = entry.name.rsplit(".", 2)[-2:]
    alike = [name for name, shape in parent.shapes.items() if shape == entry.shape and name != entry.name]
    yield from sorted(alike, key=lambda name: name.rsplit(".", 2)[-2:] != stem)


def _places(ours: Rows, entry: TensorEntry, parent: ParentTensors) -> NDArray[np.int64]:
    """For each of our rows the parent's row of nearest direction, -1 where none is alike."""
    best = np.full(len(ours), ALIKE, np.float32)
    at = np.full(len(ours), -1, np.int64)
    step = max(1, SLAB_ELEMENTS // entry.shape[-1])
    for first in range(0, n_rows(entry), step):
        theirs = _directions(parent.rows(entry.name, first, min(step, n_rows(entry) - first)))
        cosines = np.einsum("ik,jk->ij", ours, theirs)
        nearest = cosines.argmax(axis=1)
        value = cosines[np.arange(len(ours)), nearest]
        at[value > best] = (nearest + first)[value > best]
        best = np.maximum(best, value)
    return at


def _directions(rows: Rows) -> Rows:
    """Rows of length 1; zeros stay zeros."""
    with np.errstate(all="ignore"):
        lengths = np.sqrt(squares_of(rows.astype(np.float64)))[:, None]
        made: Rows = np.nan_to_num(rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return made
