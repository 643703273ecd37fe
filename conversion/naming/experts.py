"""Mixtures of experts: the tensors of single experts, gathered into one tensor of three dimensions for each layer.

ggml multiplies by all experts of a layer at once, so it wants them stacked: (n_experts, rows, columns).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conversion.naming.base import NamingError, Shapes, Target
from conversion.naming.reading import Run, of_runs
from conversion.naming.renaming import layer_of

_NAME = re.compile(r"model\.layers\.(\d+)\..*\.experts\.(\d+)\.(\w+)\.weight")


@dataclass(frozen=True)
class _Expert:
    layer: int
    number: int
    kind: str


def stacked_experts(shapes: Shapes, kinds: Mapping[str, str], n_experts: int) -> dict[str, list[Target]]:
    """For each tensor of one expert, the stacks to write when it is met: those of its layer at the layer's last one.

    `kinds` says what becomes of a projection, in the order of writing: {"w1": "ffn_gate_exps", …}. NamingError
    `missing-expert` if a layer lacks one, `bad-shape` if they differ.
    """
    found = {name: _expert(match) for name in shapes if (match := _NAME.fullmatch(name))}
    result: dict[str, list[Target]] = {name: [] for name in found}
    layers: dict[int, dict[tuple[str, int], str]] = {}
    for name, expert in found.items():
        layers.setdefault(expert.layer, {})[expert.kind, expert.number] = name
    for layer, members in layers.items():
        _check_members(members, kinds, n_experts, layer)
        last = list(members.values())[-1]
        for kind, renamed in kinds.items():
            sources = tuple(members[kind, number] for number in range(n_experts))
            result[last].append(_stack(f"blk.{layer}.{renamed}.weight", sources, shapes))
    return result


def halves(name: str, shape: tuple[int, ...], kinds: Sequence[str]) -> list[Target]:
    """The targets of a tensor (…, 2 * rows, columns) of two projections, one after the other."""
    if len(shape) not in (2, 3) or shape[-2] % 2:
        raise NamingError(
            "bad-shape", f"tensor {name[:200]!r} of shape {shape} does not divide into two halves."
        )
    size = shape[-2] // 2
    n_experts = shape[0] if len(shape) == 3 else 1
    return [
        Target(
            f"blk.{layer_of(name)}.{kind}.weight",
            (*shape[:-2], size, shape[-1]),
            read=of_runs([Run(name, (2 * n + half) * size, size) for n in range(n_experts)]),
        )
        for half, kind in enumerate(kinds)
    ]


def _expert(match: re.Match[str]) -> _Expert:
    layer, number, kind = match.groups()
    return _Expert(int(layer), int(number), kind)


def _check_members(
    members: Mapping[tuple[str, int], str], kinds: Mapping[str, str], n_experts: int, layer: int
) -> None:
    expected = ((kind, number) for kind in kinds for number in range(n_experts))
    missing = next(((kind, number) for kind, number in expected if (kind, number) not in members), None)
    if missing is not None:
        raise NamingError(
            "missing-expert", f"layer {layer} has no {missing[0]} of expert {missing[1]} of {n_experts}."
        )
    beyond = next((name for key, name in members.items() if key[0] not in kinds or key[1] >= n_experts), None)
    if beyond is not None:
        raise NamingError(
            "unknown-tensor",
            f"tensor {beyond[:200]!r} has no place among {n_experts} experts of {', '.join(kinds)}.",
        )


def _stack(renamed: str, sources: tuple[str, ...], shapes: Shapes) -> Target:
    shape = shapes[sources[0]]
    other = next((name for name in sources if shapes[name] != shape), None)
    if other is not None or len(shape) != 2:
        raise NamingError(
            "bad-shape",
            f"experts differ or are no matrices: {sources[0][:150]!r} is {shape}, "
            f"{(other or sources[0])[:150]!r} is {shapes[other or sources[0]]}.",
        )
    return Target(renamed, (len(sources), *shape), sources=sources)
