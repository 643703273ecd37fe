"""What a LoRA adapter adds, measured without ever making the product: norms of B A from matrices of its rank.

| figure | definition, W the base's weight |
|---|---|
| norm | Frobenius norm of scale * B A, as sqrt(sum of (B'B) * (A A')): two r x r matrices, read slab by slab |
| relative | that norm over the norm of W, where the base is known |
| distance | norm of scale * B A - scale2 * B2 A2 over the norm of the latter: the same with [B, -B2] and [A; A2] |

The norms are exact to float64's rounding of sums of float32 values; a distance is exact to about 1e-8, the
square root of that rounding.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.gguf import GgufHeader
from conversion.formats.layout import TensorEntry
from conversion.formats.lora import Adapter, Pair
from conversion.formats.weights import Rows, Weights, n_columns, n_rows
from conversion.naming.settling import Plan
from conversion.naming.slabs import read_target

SLAB_ELEMENTS = 1 << 20
MAX_SCALE = 1024.0
"""alpha / r is 1 or 2 as a rule, alpha / sqrt(r) below 100 in anything published."""

Square = NDArray[np.float64]
_SIDES = (".lora_a", ".lora_b")
EMBEDDING = "token_embd.weight"
"""Looked up by row instead of multiplied: llama.cpp wants its A (n_vocab, r) and its B (dim, r)."""

DISTANCES = {"F32": 1e-6, "F16": 2e-3, "BF16": 1e-2, "Q8_0": 2e-2}
"""Type of a GGUF adapter -> how far its deltas may be from those it was made of, relative: about four roundings."""

LARGEST_DISTANCE = max(DISTANCES.values())


@dataclass(frozen=True, slots=True)
class Delta:
    """What is added to one weight: its rank, its scale, and the Frobenius norm; `relative` to the weight's own."""

    name: str
    rank: int
    scale: float
    norm: float
    relative: float | None = None


@dataclass
class AdapterFindings:
    """What was found of an adapter. `deltas` are in the file's order."""

    deltas: list[Delta] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)

    @property
    def without_effect(self) -> list[str]:
        return [delta.name for delta in self.deltas if delta.norm == 0.0 or delta.scale == 0.0]

    @property
    def odd_scales(self) -> list[str]:
        return [delta.name for delta in self.deltas if not 0.0 < delta.scale <= MAX_SCALE]

    def as_json(self) -> dict[str, Any]:
        """Counts, ranges and the largest; the deltas themselves would be a list of hundreds."""
        relative = [delta.relative for delta in self.deltas if delta.relative is not None]
        return {
            "n_pairs": len(self.deltas),
            "ranks": sorted({delta.rank for delta in self.deltas}),
            "scales": sorted({delta.scale for delta in self.deltas})[:8],
            "norm": math.sqrt(sum(delta.norm**2 for delta in self.deltas)),
            "largest_relative": max(relative) if relative else None,
            "not_finite": self.not_finite,
            "without_effect": self.without_effect,
        }


def measure(adapter: Adapter, base: Weights | None = None) -> AdapterFindings:
    """Every pair and every whole tensor was read once; with the base, so was each weight that is changed."""
    found = AdapterFindings()
    for name, pair in adapter.pairs.items():
        if not all(_is_finite(adapter.weights, own) for own in (pair.a, pair.b)):
            found.not_finite.append(name)
            continue
        rank, norm = _rank(adapter.weights, pair), delta_norm(adapter.weights, pair)
        relative = None
        if base is not None and name in base.entries:
            own = tensor_norm(base, name)
            relative = norm / own if own > 0 else None
        found.deltas.append(Delta(name, rank, pair.scale, norm, relative))
    found.not_finite += [name for name in adapter.replaced.values() if not _is_finite(adapter.weights, name)]
    return found


def delta_norm(weights: Weights, pair: Pair) -> float:
    """Frobenius norm of scale * B A; exactly 0 where A or B holds nothing but zeros."""
    a, b = _gram(_a(weights, pair)), _gram(_b(weights, pair, 1.0))
    return abs(pair.scale) * math.sqrt(max(0.0, float((a * b).sum())))


def delta_distance(ours: Weights, mine: Pair, theirs: Weights, parents: Pair) -> float:
    """Norm of the difference of two deltas over the norm of the second. HeaderError where their shapes differ."""
    a = _gram(_a(ours, mine), _a(theirs, parents))
    b = _gram(_b(ours, mine, mine.scale), _b(theirs, parents, -parents.scale))
    total = delta_norm(theirs, parents)
    difference = math.sqrt(max(0.0, float((a * b).sum())))
    if total == 0.0:
        return 0.0 if difference == 0.0 else math.inf
    return difference / total


def _rank(weights: Weights, pair: Pair) -> int:
    return weights.entries[pair.b].shape[1]


def _a(weights: Weights, pair: Pair) -> Rows:
    """A as float32 (n_in, rank): as a rule it lies (rank, n_in); the A of an embedding in a GGUF stands already."""
    rows = weights.rows(pair.a, 0, n_rows(weights.entries[pair.a]))
    return rows.T if len(rows) == _rank(weights, pair) else rows


def _b(weights: Weights, pair: Pair, factor: float) -> Rows:
    """B as float32 (n_out, rank), times the factor."""
    return weights.rows(pair.b, 0, n_rows(weights.entries[pair.b])) * np.float32(factor)


def _gram(*upright: Rows) -> Square:
    """M'M, float64 (ranks, ranks), of matrices (n, rank) side by side; a slab of them widened at a time."""
    sizes = {len(one) for one in upright}
    if len(sizes) > 1:
        raise HeaderError("lora-pair", f"sizes {sorted(sizes)} of two adapters do not belong together")
    size = sum(one.shape[1] for one in upright)
    total = np.zeros((size, size), np.float64)
    step = max(1, SLAB_ELEMENTS // size)
    for start in range(0, sizes.pop(), step):
        slab = np.concatenate([one[start : start + step] for one in upright], axis=1).astype(np.float64)
        total += slab.T @ slab
    return total


def tensor_norm(weights: Weights, name: str) -> float:
    """Frobenius norm of one tensor, a slab of rows in memory at a time."""
    return math.sqrt(sum(float(np.square(rows, dtype=np.float64).sum()) for rows in _slabs(weights, name)))


def _is_finite(weights: Weights, name: str) -> bool:
    return all(bool(np.isfinite(rows).all()) for rows in _slabs(weights, name))


def _slabs(weights: Weights, name: str) -> Iterator[NDArray[np.float32]]:
    entry = weights.entries[name]
    step = max(1, SLAB_ELEMENTS // max(1, n_columns(entry)))
    for first in range(0, n_rows(entry), step):
        yield weights.rows(name, first, min(step, n_rows(entry) - first))


def gguf_adapter(weights: Weights, header: GgufHeader) -> Adapter:
    """The adapter in a GGUF: pairs NAME.lora_a (r, n_in), NAME.lora_b (n_out, r), one alpha for all.

    HeaderError `lora-variant` for what is no LoRA adapter, `lora-config` for its alpha, `lora-pair` for its tensors.
    """
    if header.get("general.type") != "adapter" or header.get("adapter.type") != "lora":
        raise HeaderError(
            "lora-variant", "general.type or adapter.type does not say that this is a LoRA adapter"
        )
    alpha = header.get("adapter.lora.alpha")
    if not isinstance(alpha, float | int) or not math.isfinite(alpha):
        raise HeaderError("lora-config", f"adapter.lora.alpha is {quoted(alpha)}, not a number")
    pairs = {stem: gguf_pair(weights, stem, float(alpha)) for stem in stems(weights.entries)}
    if not pairs:
        raise HeaderError("lora-pair", "there is no lora_a beside a lora_b here", "the adapter")
    paired = {own for pair in pairs.values() for own in (pair.a, pair.b)}
    replaced = {name: name for name in weights.entries if name not in paired}
    return Adapter(weights, float(alpha), pairs, replaced)


def stems(names: Iterable[str]) -> dict[str, None]:
    return {name.removesuffix(side): None for name in names for side in _SIDES if name.endswith(side)}


def gguf_pair(weights: Weights, stem: str, alpha: float) -> Pair:
    names = [stem + side for side in _SIDES]
    if missing := [name for name in names if name not in weights.entries]:
        raise HeaderError("lora-pair", f"it has no {quoted(missing[0])}", f"tensor {quoted(stem)}")
    a, b = (weights.entries[name].shape for name in names)
    is_embedding = stem == EMBEDDING
    if len(a) != 2 or len(b) != 2 or a[1 if is_embedding else 0] != b[1] or b[1] < 1:
        raise HeaderError("lora-pair", f"shapes {a} and {b} are no low-rank pair", f"tensor {quoted(stem)}")
    scale = alpha / b[1] if alpha else 1.0  # as llama.cpp takes an alpha of 0
    return Pair(names[0], names[1], scale, alpha, is_embedding)


def check_gguf_base(adapter: Adapter, base: Weights) -> None:
    """Every weight that a GGUF adapter changes is in the base, in its shape. HeaderError `lora-base`."""
    for name, pair in adapter.pairs.items():
        a, b = (adapter.weights.entries[own].shape for own in (pair.a, pair.b))
        wanted = (a[0], b[0]) if pair.is_embedding else (b[0], a[1])
        found = base.entries[name].shape if name in base.entries else None
        if found != wanted:
            fault = (
                f"its shape is {found}, the adapter's {wanted}" if found else "the base has no such tensor"
            )
            raise HeaderError("lora-base", fault, f"tensor {quoted(name)}")


@dataclass(frozen=True)
class PlannedWeights:
    """What a plan makes of other weights, before it is written: float32, by the names in the file to be."""

    plan: Plan
    weights: Weights = field(repr=False)

    @property
    def entries(self) -> dict[str, TensorEntry]:
        return {
            target.name: TensorEntry(target.name, "F32", target.shape, 0, target.n_rows * target.n_cols * 4)
            for target in self.plan.targets
        }

    @property
    def metadata(self) -> dict[str, Any]:
        return {}

    def read_rows(self, name: str, first: int, count: int) -> bytes:
        return self.rows(name, first, count).astype("<f4").tobytes()

    def rows(self, name: str, first: int, count: int, out: Rows | None = None) -> Rows:
        target = next(target for target in self.plan.targets if target.name == name)
        return read_target(target, self.weights, first, first + count, out)
