"""Which tensors of one file are in another, whatever they are called there: found by their values.

Two containers of one network rarely agree on names (`conv1.weight`, `onnx::Conv_132`), and exporters turn matrices
round. A tensor is known by its number of values and a digest of them as float32, lying as they are or turned.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from conversion.formats.layout import TensorEntry
from conversion.formats.weights import Weights, n_columns, n_rows
from conversion.inference.tensors import is_readable

SLAB_ELEMENTS = 1 << 20
MAX_TURNED_ELEMENTS = 1 << 26
"""A matrix is turned in memory; a larger one is compared only as it lies."""

MIN_ELEMENTS = 2
"""A single number is found everywhere and proves nothing."""


@dataclass
class SameValues:
    """Of the parent's tensors: how many are in the artifact value for value, and the names of those that are not."""

    n_found: int = 0
    n_values: int = 0
    not_found: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "n_found": self.n_found, "n_values": self.n_values,
            "n_not_found": len(self.not_found), "not_found": self.not_found[:20],
        }  # fmt: skip


def find_same_values(parent: Weights, artifact: Weights) -> SameValues:
    """Each tensor of both was read once, a slab at a time; a matrix of the parent's a second time to turn it."""
    sizes = {entry.n_elements for entry in _readable(parent)}
    there = {_digest(artifact, entry) for entry in _readable(artifact) if entry.n_elements in sizes}
    found = SameValues()
    for entry in _readable(parent):
        if _digest(parent, entry) in there or _turned(parent, entry) in there:
            found.n_found += 1
            found.n_values += entry.n_elements
        else:
            found.not_found.append(entry.name)
    return found


def _readable(weights: Weights) -> Iterator[TensorEntry]:
    return (e for e in weights.entries.values() if is_readable(weights, e) and e.n_elements >= MIN_ELEMENTS)


def _digest(weights: Weights, entry: TensorEntry) -> bytes:
    digest = hashlib.sha256(entry.n_elements.to_bytes(8, "little"))
    step = max(1, SLAB_ELEMENTS // n_columns(entry))
    for first in range(0, n_rows(entry), step):
        rows = weights.rows(entry.name, first, min(step, n_rows(entry) - first))
        digest.update(np.ascontiguousarray(rows, "<f4").data)
    return digest.digest()


def _turned(weights: Weights, entry: TensorEntry) -> bytes:
    """The digest of a matrix turned round; no digest for anything else."""
    if len(entry.shape) != 2 or entry.n_elements > MAX_TURNED_ELEMENTS:
        return b""
    digest = hashlib.sha256(entry.n_elements.to_bytes(8, "little"))
    digest.update(np.ascontiguousarray(weights.rows(entry.name, 0, n_rows(entry)).T, "<f4").data)
    return digest.digest()
