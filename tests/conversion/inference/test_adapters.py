"""What an adapter adds, measured by its small matrices, is what the whole product would show."""

import numpy as np
import pytest

from conversion.formats.errors import HeaderError
from conversion.formats.lora import open_adapter
from conversion.inference.adapters import delta_distance, measure
from tests.conversion.formats.packed.checkpoints import checkpoint_of

A, B = "base_model.model.x.lora_A.weight", "base_model.model.x.lora_B.weight"
CHANCE = np.random.default_rng(5)


def matrices(rank: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return (CHANCE.standard_normal(shape).astype(np.float32) for shape in ((rank, 40), (60, rank)))


def adapter(a: np.ndarray, b: np.ndarray, **config: object):
    return open_adapter(checkpoint_of({A: a, B: b}), {"peft_type": "LORA", "lora_alpha": 6, **config})


def test_the_norm_is_that_of_the_product() -> None:
    a, b = matrices()
    w = CHANCE.standard_normal((60, 40)).astype(np.float32)
    [delta] = measure(adapter(a, b), checkpoint_of({"x.weight": w})).deltas
    assert (delta.rank, delta.scale) == (3, 2)
    assert delta.norm == pytest.approx(2 * np.linalg.norm(b.astype(np.float64) @ a))
    assert delta.relative == pytest.approx(delta.norm / np.linalg.norm(w))


def test_the_distance_is_that_of_the_products_whatever_their_ranks() -> None:
    (a, b), (a2, b2) = matrices(), matrices(5)
    one, other = adapter(a, b), adapter(a2, b2)
    dense = 2 * b.astype(np.float64) @ a - 1.2 * b2.astype(np.float64) @ a2
    expected = np.linalg.norm(dense) / (1.2 * np.linalg.norm(b2.astype(np.float64) @ a2))
    found = delta_distance(one.weights, one.pairs["x.weight"], other.weights, other.pairs["x.weight"])
    assert found == pytest.approx(expected)
    assert delta_distance(one.weights, one.pairs["x.weight"], one.weights, one.pairs["x.weight"]) < 1e-7


def test_the_same_product_of_other_matrices_is_no_distance() -> None:
    a, b = matrices()
    turn = np.linalg.qr(CHANCE.standard_normal((3, 3)))[0].astype(np.float32)
    one, other = adapter(a, b), adapter(turn.T @ a, b @ turn)
    assert delta_distance(one.weights, one.pairs["x.weight"], other.weights, other.pairs["x.weight"]) < 1e-6


def test_nothing_nan_and_odd_scales_are_named() -> None:
    a, b = matrices()
    assert measure(adapter(a, 0 * b)).without_effect == ["x.weight"]
    assert measure(adapter(a, b, lora_alpha=0)).without_effect == ["x.weight"]
    assert measure(adapter(a, b, lora_alpha=-6)).odd_scales == ["x.weight"]
    a[1, 7] = np.nan
    assert measure(adapter(a, b)).not_finite == ["x.weight"]


def test_deltas_of_other_shapes_are_not_compared() -> None:
    a, b = matrices()
    one, other = adapter(a, b), adapter(a[:, :20], b)
    with pytest.raises(HeaderError, match="belong together"):
        delta_distance(one.weights, one.pairs["x.weight"], other.weights, other.pairs["x.weight"])
