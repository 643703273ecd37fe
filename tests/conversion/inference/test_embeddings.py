"""Figures on vectors, against definitions that are slow and plain; and the sentences that they are taken on."""

from dataclasses import replace

import numpy as np
import pytest

from conversion.inference.embeddings import (
    compare,
    fault,
    kendall,
    margin,
    pair_similarities,
    row_cosines,
    spearman,
)
from conversion.inference.limits import read_limits
from conversion.inference.pairs import GRADES, SAME, UNRELATED, Pair, read_pairs, sentences

VECTORS = np.random.default_rng(3).standard_normal((100, 16)).astype(np.float32)


def test_there_are_fifty_pairs_of_three_grades_in_nine_languages() -> None:
    pairs = read_pairs()
    assert len(pairs) == 50
    assert len(set(sentences())) == 100
    assert {pair.grade for pair in pairs} == set(GRADES)
    assert {pair.language for pair in pairs} == {"ar", "de", "en", "es", "fr", "hi", "ja", "ru", "zh"}
    for language in {pair.language for pair in pairs}:
        assert {SAME, UNRELATED} <= {pair.grade for pair in pairs if pair.language == language}


def test_a_model_is_as_near_as_can_be_to_itself() -> None:
    figures = compare(VECTORS, VECTORS)
    assert (figures.mean_cosine, figures.spearman, figures.kendall) == pytest.approx((1, 1, 1))
    assert figures.relative_deviation == 0
    assert figures.margin == figures.parent_margin
    assert not read_limits().vectors["lossless"].misses(figures)


def test_length_is_no_direction_but_a_deviation() -> None:
    figures = compare(VECTORS, 2 * VECTORS)
    assert figures.min_cosine == pytest.approx(1)
    assert figures.relative_deviation == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
def test_rank_correlations_are_those_of_their_definitions(seed: int) -> None:
    chance = np.random.default_rng(seed)
    a, b = (chance.integers(0, 6, 20).astype(np.float64) for _ in range(2))  # many ties
    concordant = ties_a = ties_b = 0.0
    for i in range(20):
        for j in range(i):
            concordant += np.sign(a[i] - a[j]) * np.sign(b[i] - b[j])
            ties_a, ties_b = ties_a + (a[i] != a[j]), ties_b + (b[i] != b[j])
    assert kendall(a, b) == pytest.approx(concordant / np.sqrt(ties_a * ties_b))
    ranks = [np.array([np.mean(np.flatnonzero(np.sort(one) == x)) for x in one]) for one in (a, b)]
    assert spearman(a, b) == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_what_tells_nothing_apart_is_correlated_only_with_its_like() -> None:
    same, other = np.ones(5), np.arange(5.0)
    assert (kendall(same, same), spearman(same, same)) == (1, 1)
    assert (kendall(same, other), spearman(other, same)) == (0, 0)


def test_the_margin_is_that_of_the_language_that_is_understood_best() -> None:
    pairs = [Pair(grade, language, "", "") for language in ("de", "en") for grade in (SAME, UNRELATED)]
    assert margin(np.array([0.1, 0.4, 0.9, 0.2]), pairs) == pytest.approx(0.7)


def test_scores_are_compared_by_their_distance() -> None:
    scores = np.array([[1.0], [3.0], [5.0], [5.5]], np.float32)
    assert pair_similarities(scores).tolist() == [-2, -0.5]


def with_values(row: int, value: float) -> np.ndarray:
    vectors = VECTORS.copy()
    vectors[row] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "code"),
    [
        (VECTORS, None),
        (with_values(7, np.nan), "vectors-not-finite"),
        (with_values(7, 0), "vectors-zero"),
        (np.ones_like(VECTORS) + VECTORS * 1e-5, "vectors-constant"),
        (np.ones((4, 1), np.float32), "vectors-constant"),
        (np.arange(1, 5, dtype=np.float32)[:, None], None),
    ],
)
def test_vectors_that_no_sound_model_gives_are_named(vectors: np.ndarray, code: str | None) -> None:
    found = fault(vectors)
    assert (found[0] if found else None) == code


def test_a_direction_of_nothing_is_like_nothing() -> None:
    assert row_cosines(np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)).tolist() == [0]


def test_every_class_has_limits_in_the_order_of_its_bits() -> None:
    limits = read_limits()
    assert limits.vectors.keys() == limits.classes.keys()
    for name in ("cosine_pass", "cosine_fail", "rank_pass"):
        values = [getattr(one, name) for one in limits.vectors.values()]
        assert values == sorted(values, reverse=True)


def test_what_misses_is_said_with_its_number_and_scores_have_no_direction() -> None:
    limits, figures = read_limits().vectors["8 bit"], compare(VECTORS, VECTORS)
    turned = replace(figures, mean_cosine=0.985, min_cosine=0.9, spearman=0.97)
    assert [text.split(" is ")[0] for text in limits.misses(turned)] == [
        "mean cosine", "the smallest cosine", "rank correlation of pairs",
    ]  # fmt: skip
    assert len(limits.misses(turned, scores=True)) == 1
    assert not limits.fails(turned)
    assert limits.fails(replace(turned, mean_cosine=0.96))
    assert limits.fails(replace(figures, spearman=0.9), scores=True)
