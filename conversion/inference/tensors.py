"""What can be said of tensors without running them: finite, and not all zero. One slab of rows in memory at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversion.formats.gguf import TYPE_BY_NAME
from conversion.formats.layout import TensorEntry
from conversion.formats.source import ByteSource
from conversion.quants import TYPES, dequantize

SLAB_BYTES = 4 * 2**20


@dataclass
class TensorFindings:
    """Names of tensors with values that no trained model has, and how many were read."""

    n_read: int = 0
    not_finite: list[str] = field(default_factory=list)
    all_zero: list[str] = field(default_factory=list)
    unread_types: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return vars(self).copy()


def inspect_tensors(source: ByteSource, entries: Iterable[TensorEntry]) -> TensorFindings:
    """Every tensor whose type we can decode was read once; the other types are named in `unread_types`."""
    found = TensorFindings()
    for entry in entries:
        if entry.dtype not in TYPES:
            if entry.dtype not in found.unread_types:
                found.unread_types.append(entry.dtype)
            continue
        found.n_read += 1
        finite, zero = True, True
        for values in _slabs(source, entry):
            finite = finite and bool(np.isfinite(values).all())
            zero = zero and not values.any()
        if not finite:
            found.not_finite.append(entry.name)
        elif zero:
            found.all_zero.append(entry.name)
    return found


def _slabs(source: ByteSource, entry: TensorEntry) -> Iterator[NDArray[np.float32]]:
    n_columns = entry.shape[-1]
    row_bytes = TYPE_BY_NAME[entry.dtype].row_bytes(n_columns)
    step = max(1, SLAB_BYTES // row_bytes) * row_bytes
    for start in range(0, entry.length, step):
        data = source.read(entry.start + start, min(step, entry.length - start))
        blocks = np.frombuffer(data, np.uint8).reshape(-1, row_bytes)
        with np.errstate(all="ignore"):  # hostile scales overflow; what comes of it is what we look for
            yield dequantize(blocks, entry.dtype, n_columns)
