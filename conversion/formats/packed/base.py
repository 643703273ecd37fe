"""What all schemes share: tensors made from others, read by rows, and the checks of the parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.layout import TensorEntry
from conversion.formats.weights import NUMPY_DTYPES, Rows, Weights, n_rows

MAX_PART_BYTES = 1 << 30
"""The most of one packed tensor that is held: schemes that pack along the wrong axis need all of it for one row."""


@dataclass(frozen=True)
class Made:
    """One plain tensor: its shape, how its rows are computed, and the stored tensors that it takes the place of.

    `rows(first, count)` gives float32 (count, shape[-1]).
    """

    shape: tuple[int, ...]
    rows: Callable[[int, int], Rows] = field(repr=False)
    parts: tuple[str, ...]


Found = dict[str, Made | None]
"""Plain tensors by name. None drops a stored tensor that says nothing of the weights (activation scales)."""

Scheme = Callable[[Weights, Mapping[str, Any]], Found]


class UnpackedWeights:
    """Another checkpoint's weights, with plain tensors where it has packed ones; dtype F32, as computed."""

    def __init__(self, weights: Weights, found: Found) -> None:
        self.weights = weights
        self.made = {name: made for name, made in found.items() if made is not None}
        self.metadata = weights.metadata
        self.entries = self._entries({name for name, made in found.items() if made is None})

    def _entries(self, dropped: set[str]) -> dict[str, TensorEntry]:
        stands_for = {made.parts[0]: name for name, made in self.made.items()}
        hidden = dropped | {part for made in self.made.values() for part in made.parts}
        entries: dict[str, TensorEntry] = {}
        for name, entry in self.weights.entries.items():
            if (plain := stands_for.get(name)) is not None:
                shape = self.made[plain].shape
                entries[plain] = TensorEntry(
                    plain, "F32", shape, entry.start, 4 * int(np.prod(shape, dtype=object))
                )
            elif name not in hidden:
                entries[name] = entry
        return entries

    def stored_as(self, name: str) -> str:
        """The stored tensor that a tensor comes from, or the first of several."""
        return self.made[name].parts[0] if name in self.made else name

    def rows(self, name: str, first: int, count: int, out: Rows | None = None) -> Rows:
        made = self.made.get(name)
        if made is None:
            return self.weights.rows(name, first, count, out)
        rows = made.rows(first, count)
        if out is None:
            return rows
        np.copyto(out, rows)
        return out

    def read_rows(self, name: str, first: int, count: int) -> bytes:
        if name in self.made:
            return self.rows(name, first, count).astype("<f4").tobytes()
        return self.weights.read_rows(name, first, count)


def part(weights: Weights, name: str, *dtypes: str) -> TensorEntry:
    """The stored tensor of that name and one of these dtypes; HeaderError `packed-part` if it is not so."""
    entry = weights.entries.get(name)
    if entry is None:
        raise HeaderError(
            "packed-part", "the scheme needs it, but it is not in the checkpoint", f"tensor {quoted(name)}"
        )
    if entry.dtype not in dtypes:
        raise HeaderError(
            "packed-part", f"it is {entry.dtype}, expected {' or '.join(dtypes)}", f"tensor {quoted(name)}"
        )
    return entry


def expect_shape(entry: TensorEntry, *shape: int) -> None:
    """HeaderError `packed-shape` unless the tensor has exactly this shape."""
    if entry.shape != shape:
        raise HeaderError(
            "packed-shape", f"its shape is {entry.shape}, expected {shape}", f"tensor {quoted(entry.name)}"
        )


def read_all(weights: Weights, name: str) -> npt.NDArray[Any]:
    """A whole stored tensor in its own numpy dtype; HeaderError `packed-large` beyond MAX_PART_BYTES."""
    entry = weights.entries[name]
    _check_size(entry)
    data = weights.read_rows(name, 0, n_rows(entry))
    return np.frombuffer(data, NUMPY_DTYPES[entry.dtype]).reshape(entry.shape)


def read_floats(weights: Weights, name: str) -> Rows:
    """A whole stored tensor as float32, in its shape."""
    entry = weights.entries[name]
    _check_size(entry)
    return weights.rows(name, 0, n_rows(entry)).reshape(entry.shape)


def _check_size(entry: TensorEntry) -> None:
    if entry.length > MAX_PART_BYTES:
        raise HeaderError(
            "packed-large",
            f"it has {entry.length} bytes; at most {MAX_PART_BYTES} are unpacked",
            f"tensor {quoted(entry.name)}",
        )


def whole_number(config: Mapping[str, Any], key: str, *allowed: int) -> int:
    """A number that the quantization_config must state, one of `allowed`; HeaderError `packed-config` if not."""
    value = config.get(key)
    if type(value) is not int or (allowed and value not in allowed):
        expected = f"one of {', '.join(map(str, allowed))}" if allowed else "a whole number"
        raise HeaderError(
            "packed-config", f"{key} must be {expected}, not {value!r:.60}", "quantization_config"
        )
    return value


class LastRead:
    """A function of a tensor's name that remembers its last answer: rows are asked for front to back."""

    def __init__(self, read: Callable[[str], npt.NDArray[Any]]) -> None:
        self._read = read
        self._last: tuple[str, npt.NDArray[Any]] | None = None

    def __call__(self, name: str) -> npt.NDArray[Any]:
        last = self._last  # read once: threads may ask at the same time
        if last is None or last[0] != name:
            last = self._last = (name, self._read(name))
        return last[1]
