"""Tensors are found by their values, whatever they are called and however they lie."""

import numpy as np

from conversion.inference.same_values import find_same_values
from tests.conversion.formats.packed.checkpoints import checkpoint_of

CHANCE = np.random.default_rng(4)
W, K, B = (CHANCE.standard_normal(shape).astype(np.float32) for shape in ((6, 4), (3, 2, 5), (8,)))


def test_names_and_turns_do_not_matter_but_values_do() -> None:
    parent = checkpoint_of({"w": W, "k": K, "b": B, "other": B + 1})
    artifact = checkpoint_of({"onnx::1": np.ascontiguousarray(W.T), "onnx::2": K, "onnx::3": B})
    found = find_same_values(parent, artifact)
    assert (found.n_found, found.n_values, found.not_found) == (3, W.size + K.size + B.size, ["other"])


def test_half_floats_are_the_numbers_that_they_stand_for() -> None:
    half = B.astype(np.float16)
    found = find_same_values(
        checkpoint_of({"b": half}), checkpoint_of({"b": half.astype(np.float32), "c": B})
    )
    assert found.not_found == []


def test_a_single_number_proves_nothing() -> None:
    one = checkpoint_of({"scale": np.ones(1, np.float32)})
    assert find_same_values(one, one).as_json()["n_found"] == 0


def test_the_same_numbers_in_another_order_are_others() -> None:
    found = find_same_values(checkpoint_of({"w": W}), checkpoint_of({"w": W[::-1].copy()}))
    assert found.not_found == ["w"]
