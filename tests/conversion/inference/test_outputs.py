"""How far the outputs of two networks are apart, against plain definitions."""

import numpy as np
import pytest

from conversion.inference.limits import read_limits
from conversion.inference.outputs import compare_outputs, differing_shapes

ROWS = np.random.default_rng(2).standard_normal((4, 6)).astype(np.float32)


def test_the_figures_are_those_of_the_output_that_is_furthest_off() -> None:
    ours = ROWS * np.float32(1.01)
    figures = compare_outputs({"a": ROWS, "b": ROWS}, {"a": ROWS, "b": ours})
    assert (figures.worst, figures.n_outputs, figures.n_values) == ("b", 2, 48)
    assert figures.relative == pytest.approx(0.01, rel=2e-3)
    assert (figures.cosine, figures.top1_agreement) == (pytest.approx(1), 1)


def test_the_best_of_each_row_is_counted_where_there_are_rows() -> None:
    turned = ROWS.copy()
    turned[0] = -turned[0]
    assert compare_outputs({"a": ROWS}, {"a": turned}).top1_agreement == 0.75
    assert compare_outputs({"a": ROWS[0]}, {"a": turned[0]}).top1_agreement == 1
    assert compare_outputs({"a": ROWS[0]}, {"a": turned[0]}).cosine == pytest.approx(-1)


def test_nothing_is_only_like_nothing() -> None:
    zero = np.zeros((1, 3), np.float32)
    assert compare_outputs({"a": zero}, {"a": zero}).relative == 0
    assert compare_outputs({"a": zero}, {"a": zero + 1}).relative > 1
    assert compare_outputs({"a": zero + 3e-4}, {"a": zero + 3.003e-4}).relative < 1e-3
    assert compare_outputs({"a": zero}, {"a": zero + 1}).cosine == 0


def test_outputs_that_cannot_be_compared_are_named() -> None:
    theirs = {"a": ROWS, "b": ROWS}
    assert differing_shapes(theirs, theirs) == []
    assert differing_shapes(theirs, {"a": ROWS[:2]}) == [
        "'b' is missing",
        "'a' is (2, 6), its parent's (4, 6)",
    ]


def test_what_passes_is_nearer_than_what_fails() -> None:
    limits = read_limits().networks
    assert 0 < limits.relative_pass < limits.relative_fail < 1
