"""Every tensor of an artifact measured, and compared with its parent's where there is one: the full table.

Slabs are read, decoded and measured by a few threads ahead of the one that adds up, in order: the figures do not depend
on how many there are. In memory: a few slabs, and a line of figures for each tensor.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from conversion.formats.layout import TensorEntry
from conversion.formats.packed import UnpackedWeights
from conversion.formats.weights import Rows, Weights, n_columns
from conversion.inference import distances, tensors
from conversion.inference.distances import (
    FLOAT_NOISE,
    FLOATS,
    NOISE,
    Difference,
    compare,
    compare_with_ours,
    count_lost,
    sampled_rows,
    settle_suspects,
)
from conversion.inference.parents import ParentTensors
from conversion.inference.strays import suspects
from conversion.inference.tensors import Run, Statistics, is_readable, is_wide, measure, read_run, runs_of
from conversion.naming.slabs import N_THREADS, Scratch, ahead

MAX_LINES = 2_000
MAX_WORST = 200
"""A longer table is cut to this many of its worst lines; its sha256 is that of the whole."""

OnValues = Callable[[int], None]


@dataclass(frozen=True)
class Line:
    """What was found of one tensor. `difference` is None without a counterpart of the same shape."""

    entry: TensorEntry
    found: Statistics
    difference: Difference | None = None

    @property
    def is_finite(self) -> bool:
        return self.found.n_finite == self.found.n_values

    @property
    def is_all_zero(self) -> bool:
        return self.found.n_zero == self.found.n_values

    @property
    def ratio(self) -> float | None:
        return self.difference.ratio if self.difference else None

    def as_row(self) -> list[Any]:
        end = self.difference.as_row(self.found) if self.difference else [None] * len(distances.COLUMNS)
        return tensors.as_row(self.entry, self.found) + end


@dataclass
class Survey:
    """All lines, in the order of the file; names of what has no counterpart; dtypes that we cannot decode."""

    lines: list[Line] = field(default_factory=list)
    unread_types: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    @property
    def together(self) -> Difference:
        whole = Difference()
        for line in self.lines:
            if line.difference is not None:
                whole.add(line.difference)
        return whole

    def table(self) -> dict[str, Any]:
        """As JSON: whole up to MAX_LINES, else its worst lines; `sha256` is that of the whole as JSON lines."""
        rows = [line.as_row() for line in self.lines]
        digest = hashlib.sha256("".join(json.dumps(row) + "\n" for row in rows).encode()).hexdigest()
        is_whole = len(rows) <= MAX_LINES
        if not is_whole:
            worst = sorted(self.lines, key=_badness, reverse=True)[:MAX_WORST]
            rows = [line.as_row() for line in worst]
        columns = [*tensors.COLUMNS, *distances.COLUMNS]
        return {
            "columns": columns, "rows": rows, "n_tensors": len(self.lines), "is_whole": is_whole, "sha256": digest
        }  # fmt: skip


def _badness(line: Line) -> tuple[bool, bool, float]:
    return (not line.is_finite, line.is_all_zero, line.ratio or 0.0)


def survey(
    weights: Weights,
    parent: ParentTensors | None = None,
    on_values: OnValues = lambda n_values: None,
    *,
    n_threads: int = N_THREADS,
) -> Survey:
    """Every tensor was read once, and its counterpart's rows once. `on_values` hears how many values are done."""
    made = Survey()
    reader = _Reader(weights, parent, _counterparts(weights, parent, made), n_threads)
    for entry in weights.entries.values():
        if is_readable(weights, entry):
            made.lines.append(reader.line(entry))
            on_values(entry.n_elements)
        elif entry.n_elements and entry.dtype not in made.unread_types:
            made.unread_types.append(entry.dtype)
    return made


def _counterparts(weights: Weights, parent: ParentTensors | None, made: Survey) -> dict[str, str]:
    """The artifact's tensor -> the parent's, of the same shape."""
    if parent is None:
        return {}
    names: dict[str, str] = {}
    for entry in weights.entries.values():
        name = _name_of_counterpart(entry.name, parent)
        if name is None:
            made.unexpected.append(entry.name)
        elif _squeezed(parent.targets[name].shape) != _squeezed(entry.shape):
            made.misshapen.append(entry.name)
        else:
            names[entry.name] = name
    made.missing = [name for name in parent.targets if name not in weights.entries]
    return names


def _name_of_counterpart(name: str, parent: ParentTensors) -> str | None:
    """A model whose output is its embedding may be written with both."""
    if name in parent.targets:
        return name
    return "token_embd.weight" if name == "output.weight" and "token_embd.weight" in parent.targets else None


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """ggml counts no leading dimensions of 1."""
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape or (1,)


Measured = tuple[Statistics, Difference | None]


@dataclass(frozen=True)
class _Reader:
    """Reads tensors of `weights`, and their `counterparts` of `parent`, slab by slab."""

    weights: Weights
    parent: ParentTensors | None
    counterparts: dict[str, str]
    n_threads: int
    scratch: Scratch = field(default_factory=Scratch)

    def line(self, entry: TensorEntry) -> Line:
        is_compared = entry.name in self.counterparts and not is_wide(entry)
        noise = FLOAT_NOISE if entry.dtype in FLOATS else NOISE
        found, difference = Statistics(), Difference(noise=noise) if is_compared else None
        for part, apart in self._parts(entry, self._together(entry)):
            found.add(part)
            if difference is not None and apart is not None:
                difference.add(apart)
        if difference is not None:
            settle_suspects(difference, entry.dtype, lambda row: self.weights.read_rows(entry.name, row, 1))
        if is_wide(entry):
            found.n_rows = found.n_constant_rows = found.n_zero_rows = 0  # pieces are not rows
        return Line(entry, found, difference)

    def _together(self, entry: TensorEntry) -> int:
        name = self.counterparts.get(entry.name)
        return self.parent.rows_together(name) if self.parent is not None and name is not None else 1

    def _parts(self, entry: TensorEntry, together: int) -> Iterable[Measured]:
        """In order. Threads for tensors of several slabs only: starting two takes longer than a small tensor does."""
        tasks = (partial(self._measure, entry, run) for run in runs_of(entry, together))
        if entry.n_elements <= tensors.SLAB_ELEMENTS:
            return (task() for task in tasks)
        return ahead(tasks, self.n_threads)

    def _measure(self, entry: TensorEntry, run: Run) -> Measured:
        out = None if run.length else self.scratch.rows(run.count, n_columns(entry))
        rows = read_run(self.weights, entry, run, out)
        found = measure(rows)
        name = self.counterparts.get(entry.name)
        if self.parent is None or name is None or run.length:
            return found, None
        theirs = np.ascontiguousarray(self.parent.rows(name, run.first, run.count))
        compared = compare(rows, theirs)
        compared.sums.n_lost_rows = count_lost(rows, theirs, compared.lost, entry.dtype)
        compared.sums.suspects = suspects(rows, theirs, run.first)
        compared.sums.add(self._beside_ours(entry, run, rows, theirs))
        return found, compared.sums

    def _beside_ours(self, entry: TensorEntry, run: Run, rows: Rows, theirs: Rows) -> Difference:
        """The sampled rows that lie in this run; none of a tensor that is not stored but computed from packed ones."""
        if isinstance(self.weights, UnpackedWeights) and entry.name in self.weights.made:
            return Difference()
        sampled = sampled_rows(entry)
        picked = sampled[(sampled >= run.first) & (sampled < run.first + run.count)]
        if not picked.size:
            return Difference()
        stored = b"".join(self.weights.read_rows(entry.name, int(row), 1) for row in picked)
        at = picked - run.first
        return compare_with_ours(stored, rows[at], theirs[at], entry.dtype)
