import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion.inference.fidelity import Comparison, are_all_alike, log_softmax, measure, top2_margin


def naive_kld(parent, artifact):
    """One position, as the definition reads."""
    p = [math.exp(x) for x in parent]
    q = [math.exp(x) for x in artifact]
    p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def compared(parent, artifact, next_ids):
    comparison = Comparison()
    comparison.add(measure(np.float32(parent), np.float32(artifact), tuple(next_ids)))
    return comparison.figures()


rows = st.lists(st.floats(-20, 20, width=32), min_size=5, max_size=5)


@given(st.lists(st.tuples(rows, rows), min_size=1, max_size=6))
def test_the_mean_divergence_is_that_of_the_definition(pairs):
    parent, artifact = zip(*pairs, strict=True)
    figures = compared(parent, artifact, [0] * len(pairs))
    expected = np.mean([naive_kld(p, a) for p, a in pairs])
    assert figures.mean_kld == pytest.approx(expected, abs=1e-9, rel=1e-9)
    assert figures.n_positions == len(pairs)


def test_a_model_is_at_no_distance_from_itself():
    logits = np.random.default_rng(1).normal(size=(40, 100))
    figures = compared(logits, logits, range(40))
    assert figures.mean_kld == figures.max_kld == figures.ln_ppl_ratio == figures.rms_dp == 0
    assert figures.top1_agreement == 1
    assert figures.ppl_parent == figures.ppl_artifact


def test_perplexity_and_agreement_follow_the_right_answers():
    even, sure = [0.0, 0.0], [math.log(3), 0.0]
    figures = compared([even, sure], [sure, sure], [0, 1])
    assert figures.ppl_parent == pytest.approx(math.sqrt(2 * 4))
    assert figures.ppl_artifact == pytest.approx(math.sqrt(4 / 3 * 4))
    assert figures.ln_ppl_ratio == pytest.approx(math.log(figures.ppl_artifact / figures.ppl_parent))
    assert figures.rms_dp == pytest.approx(0.25 / math.sqrt(2))
    assert figures.top1_agreement == 1  # of two equal tokens the first is the preferred one


def test_pieces_added_one_by_one_give_the_same_figures():
    rng = np.random.default_rng(2)
    parent, artifact = rng.normal(size=(2, 30, 50)).astype(np.float32)
    ids = tuple(range(30))
    comparison = Comparison()
    for first, last in ((0, 1), (1, 17), (17, 30)):
        comparison.add(measure(parent[first:last], artifact[first:last], ids[first:last]))
    assert comparison.figures() == compared(parent, artifact, ids)


def test_large_logits_do_not_overflow():
    assert np.isfinite(log_softmax(np.float32([[3e38, -3e38, 0]]))).all()


def test_the_margin_is_between_the_best_two():
    assert top2_margin(np.float32([1, 7, 4.5, -3])) == 2.5


def test_figures_of_absurd_logits_are_numbers_that_json_knows():
    """Random damage made logits of ten thousand, and the perplexity infinite."""
    parent = np.zeros((3, 4), np.float32)
    artifact = np.float32([[1e30, 0, 0, -3e38]] * 3)
    figures = compared(parent, artifact, [3, 1, 0])
    assert all(math.isfinite(value) for value in figures.as_json().values())


def test_the_largest_logits_that_there_are_overflow_nothing():
    """A random change of a header gave logits of 1e20: finite, and their squares were not."""
    most = np.finfo(np.float32).max
    rows = np.full((3, 8), -most, np.float32)
    assert are_all_alike(rows)
    rows[1, 2] = most
    assert not are_all_alike(rows)
    assert not are_all_alike(rows[:1])
    assert top2_margin(rows[1]) == 2 * float(most)
    comparison = Comparison()
    comparison.add(measure(rows, rows[::-1].copy(), (0, 2, 1)))
    figures = comparison.figures()
    assert np.isfinite([figures.mean_kld, figures.kld_error, figures.ppl_artifact]).all()
