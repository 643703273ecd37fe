"""How far the outputs of one network are from another's, on the same inputs.

| figure | definition |
|---|---|
| relative | norm of the difference over the norm of the parent's, for the output where it is largest |
| cosine | of the two outputs taken as vectors, for the output where it is smallest |
| top-1 | share of rows whose largest value is at the same place, over the outputs that have rows of more than one |

A thousandth is added to the root mean square that is divided by: at 0.000303 a probability of 0.0003 is not wrong by
1 %.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

SMALL = 1e-3
Outputs = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class OutputFigures:
    """The distance of a network from its parent on `n_values` values in `n_outputs` outputs."""

    n_outputs: int
    n_values: int
    relative: float
    cosine: float
    top1_agreement: float
    worst: str

    def as_json(self) -> dict[str, float | str]:
        return asdict(self)


def compare_outputs(parent: Outputs, artifact: Outputs) -> OutputFigures:
    """Over the outputs of both, which must have the same shapes; `worst` names the one with the largest difference."""
    names = [name for name in parent if name in artifact]
    relative = {name: _relative(parent[name], artifact[name]) for name in names}
    worst = max(names, key=lambda name: relative[name])
    agreements = [one for name in names if (one := _top1(parent[name], artifact[name])) is not None]
    return OutputFigures(
        n_outputs=len(names),
        n_values=sum(parent[name].size for name in names),
        relative=relative[worst],
        cosine=min(_cosine(parent[name], artifact[name]) for name in names),
        top1_agreement=float(np.mean(agreements)) if agreements else 1.0,
        worst=worst,
    )


def differing_shapes(parent: Outputs, artifact: Outputs) -> list[str]:
    """What keeps the two from being compared, each as a few words; empty where nothing does."""
    found = [f"{name!r:.60} is missing" for name in parent if name not in artifact]
    for name in parent:
        if name in artifact and parent[name].shape != artifact[name].shape:
            found.append(f"{name!r:.60} is {artifact[name].shape}, its parent's {parent[name].shape}")
    return found


def _relative(theirs: NDArray[np.float32], ours: NDArray[np.float32]) -> float:
    expected = theirs.astype(np.float64)
    scale = float(np.linalg.norm(expected)) + SMALL * math.sqrt(expected.size)
    return float(np.linalg.norm(ours - expected)) / scale if scale else 0.0


def _cosine(theirs: NDArray[np.float32], ours: NDArray[np.float32]) -> float:
    a, b = theirs.astype(np.float64).ravel(), ours.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else float(np.array_equal(a, b))


def _top1(theirs: NDArray[np.float32], ours: NDArray[np.float32]) -> float | None:
    if theirs.ndim < 2 or theirs.shape[-1] < 2 or not theirs.size:
        return None
    return float((theirs.argmax(axis=-1) == ours.argmax(axis=-1)).mean())


@dataclass(frozen=True)
class NetworkLimits:
    """How far the outputs may be from those of another version of the same network, relative to their size."""

    relative_pass: float
    relative_fail: float
