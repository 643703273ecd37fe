"""Experts: single tensors are stacked by layer, double ones are cut in two, and what is missing is named."""

import numpy as np
import pytest

from conversion.formats.layout import TensorEntry
from conversion.formats.weights import Rows
from conversion.naming import NamingError
from conversion.naming.experts import halves, stacked_experts

KINDS = {"w1": "ffn_gate_exps", "w2": "ffn_down_exps"}


def names(layer: int, n_experts: int) -> list[str]:
    prefix = f"model.layers.{layer}.block_sparse_moe.experts"
    return [f"{prefix}.{number}.{kind}.weight" for number in range(n_experts) for kind in KINDS]


def shapes(n_layers: int = 2, n_experts: int = 3) -> dict[str, tuple[int, ...]]:
    return {name: (4, 8) for layer in range(n_layers) for name in names(layer, n_experts)}


class Held:
    """Weights in memory."""

    metadata: dict[str, str] = {}

    def __init__(self, **arrays: np.ndarray) -> None:
        self.arrays = {name: array.reshape(-1, array.shape[-1]) for name, array in arrays.items()}
        self.entries = {name: TensorEntry(name, "F32", array.shape, 0, 0) for name, array in arrays.items()}

    def rows(self, name: str, first: int, count: int, out: Rows | None = None) -> Rows:
        return self.arrays[name][first : first + count]


def test_the_experts_of_a_layer_are_stacked_where_the_last_of_them_is_met() -> None:
    found = stacked_experts(shapes(), KINDS, 3)
    assert list(found) == list(shapes())
    assert [len(targets) for targets in found.values()] == [0, 0, 0, 0, 0, 2] * 2
    gate, down = found["model.layers.1.block_sparse_moe.experts.2.w2.weight"]
    assert (gate.name, gate.shape) == ("blk.1.ffn_gate_exps.weight", (3, 4, 8))
    assert down.sources == tuple(f"model.layers.1.block_sparse_moe.experts.{n}.w2.weight" for n in range(3))


def test_experts_are_in_the_order_of_their_numbers_not_of_their_names() -> None:
    listed = dict.fromkeys(sorted(names(0, 12)), (4, 8))
    *_, stacks = stacked_experts(listed, KINDS, 12).values()
    assert [source.split(".")[5] for source in stacks[0].sources] == [str(number) for number in range(12)]


def test_other_tensors_are_no_experts() -> None:
    assert (
        stacked_experts(
            {"model.norm.weight": (8,), "model.layers.0.mlp.shared_expert.w1.weight": (4, 8)}, KINDS, 3
        )
        == {}
    )


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        (shapes(n_experts=2), "missing-expert", "layer 0 has no w1 of expert 2 of 3"),
        (shapes(n_experts=4), "unknown-tensor", "has no place among 3 experts of w1, w2"),
        (
            shapes() | {"model.layers.0.block_sparse_moe.experts.1.w9.weight": (4, 8)},
            "unknown-tensor",
            "no place",
        ),
        (shapes() | {names(0, 3)[2]: (5, 8)}, "bad-shape", r"is \(4, 8\), .* is \(5, 8\)"),
        (dict.fromkeys(shapes(), (8,)), "bad-shape", "no matrices"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    changed: dict[str, tuple[int, ...]], code: str, message: str
) -> None:
    with pytest.raises(NamingError, match=message) as refused:
        stacked_experts(changed, KINDS, 3)
    assert refused.value.code == code


@pytest.mark.parametrize("shape", [(3, 6, 2), (6, 2)])
def test_a_double_tensor_becomes_its_two_halves(shape: tuple[int, ...]) -> None:
    name = "model.layers.7.x.weight"
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    first, second = halves(name, shape, ("a", "b"))
    assert (first.name, second.name) == ("blk.7.a.weight", "blk.7.b.weight")
    for target, expected in ((first, array[..., :3, :]), (second, array[..., 3:, :])):
        assert target.shape == expected.shape
        assert target.read is not None
        for start in range(target.n_rows):
            for count in range(1, target.n_rows - start + 1):
                found = target.read(Held(**{name: array}), start, count)
                assert (found == expected.reshape(-1, 2)[start : start + count]).all()


@pytest.mark.parametrize("shape", [(3, 5, 2), (6,), (2, 2, 6, 2)])
def test_what_has_no_halves_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(NamingError, match="does not divide into two halves") as refused:
        halves("model.layers.0.x.weight", shape, ("a", "b"))
    assert refused.value.code == "bad-shape"
