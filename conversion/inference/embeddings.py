"""How far the vectors of one embedding model are from another's, and whether they mean anything at all.

Both read the hundred sentences of pairs.py. A vector alone says little, so three things are asked:

| figure | definition |
|---|---|
| cosine | of each sentence's vector with its parent's: mean and minimum |
| rank correlation | of the similarities of the fifty pairs, by Spearman and by Kendall (tau-b): what a search returns |
| margin | mean cosine of pairs of the same meaning minus that of unrelated pairs, in the language where it is largest |

Similarities within a model are cosines. A reranker gives scores instead of directions; it has rank correlations and the
relative deviation of its scores.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from conversion.inference.pairs import SAME, UNRELATED, Pair, read_pairs

Vectors = NDArray[np.float32]
Values = NDArray[np.float64]
CONSTANT_COSINE = 0.999999
"""Above this between all sentences a model says the same of everything."""


@dataclass(frozen=True)
class EmbeddingFigures:
    """The distance of an embedding model from its parent on `n_sentences` sentences of `width` numbers each."""

    n_sentences: int
    width: int
    mean_cosine: float
    min_cosine: float
    relative_deviation: float
    spearman: float
    kendall: float
    margin: float
    parent_margin: float

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def compare(parent: Vectors, artifact: Vectors) -> EmbeddingFigures:
    """Both float32 (n_sentences, width), finite, row by row of the same sentence, pairs beside each other."""
    cosines = row_cosines(parent, artifact)
    ours, theirs = pair_similarities(artifact), pair_similarities(parent)
    deviation = np.linalg.norm(artifact.astype(np.float64) - parent) / max(
        float(np.linalg.norm(parent.astype(np.float64))), 1e-30
    )
    return EmbeddingFigures(
        n_sentences=len(artifact),
        width=artifact.shape[1],
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        relative_deviation=float(deviation),
        spearman=spearman(theirs, ours),
        kendall=kendall(theirs, ours),
        margin=margin(ours),
        parent_margin=margin(theirs),
    )


def row_cosines(a: Vectors, b: Vectors) -> Values:
    """Cosine of each row of `a` with the same row of `b`, float64; 0 where one of them has no direction."""
    left, right = _directions(a), _directions(b)
    cosines: Values = np.clip((left * right).sum(axis=1), -1.0, 1.0)
    return cosines


def pair_similarities(vectors: Vectors) -> Values:
    """How alike the two of each pair are: (n_pairs,) cosines, or minus the distance where a vector is one number."""
    first, second = vectors[0::2], vectors[1::2]
    if vectors.shape[1] == 1:
        return -np.abs(first[:, 0].astype(np.float64) - second[:, 0])
    return row_cosines(first, second)


def margin(similarities: Values, pairs: Sequence[Pair] | None = None) -> float:
    """By how much pairs of one meaning are more alike than unrelated ones, in the language that is understood best.

    Best, because a model of one language owes nothing to the others.
    """
    listed = read_pairs() if pairs is None else pairs
    best = -2.0
    for language in dict.fromkeys(pair.language for pair in listed):
        means = [_mean(similarities, listed, language, grade) for grade in (SAME, UNRELATED)]
        if not np.isnan(means).any():
            best = max(best, means[0] - means[1])
    return best


def _mean(similarities: Values, pairs: Sequence[Pair], language: str, grade: str) -> float:
    chosen = [
        value
        for value, pair in zip(similarities, pairs, strict=True)
        if (pair.language, pair.grade) == (language, grade)
    ]
    return float(np.mean(chosen)) if chosen else float("nan")


def fault(vectors: Vectors) -> tuple[str, str] | None:
    """(code, sentence) for vectors that no sound model gives; None where nothing is wrong with them."""
    if not np.isfinite(vectors).all():
        return "vectors-not-finite", "its vectors hold NaN or infinity"
    if not vectors.any(axis=1).all():
        return "vectors-zero", "it gives a vector of nothing but zeros"
    same = bool((vectors == vectors[0]).all())
    if same or (vectors.shape[1] > 1 and float(row_cosines(vectors, vectors[:1]).min()) > CONSTANT_COSINE):
        return "vectors-constant", "it gives the same vector whatever it reads"
    return None


def spearman(a: Values, b: Values) -> float:
    """Correlation of the ranks, ties sharing the mean of theirs; 1 where neither tells anything apart."""
    left, right = _ranks(a), _ranks(b)
    left, right = left - left.mean(), right - right.mean()
    return _ratio(float((left * right).sum()), float((left**2).sum()), float((right**2).sum()))


def kendall(a: Values, b: Values) -> float:
    """tau-b: pairs in the same order minus pairs in the other, ties counted for neither."""
    left, right = np.sign(a[:, None] - a), np.sign(b[:, None] - b)
    return _ratio(float((left * right).sum()), float((left**2).sum()), float((right**2).sum()))


def _ratio(product: float, left: float, right: float) -> float:
    if left == 0.0 or right == 0.0:
        return 1.0 if left == right else 0.0
    return product / float(np.sqrt(left * right))


def _ranks(values: Values) -> Values:
    """0 for the smallest; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Values = (last - (counts + 1) / 2)[inverse]
    return ranks


def _directions(vectors: Vectors) -> Values:
    values = vectors.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    directions: Values = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
    return directions


@dataclass(frozen=True)
class VectorLimits:
    """How far the vectors of one class may be from their parent's; the classes are those of limits.json.

    `rank_pass` is for Spearman's correlation. Cosines are of the mean over the sentences, the smallest may be as far
    off as what fails.
    """

    cosine_pass: float
    cosine_fail: float
    rank_pass: float

    def misses(self, figures: EmbeddingFigures, *, scores: bool = False) -> list[str]:
        """What misses its passing limit, each as a sentence with the number and the limit; scores have no direction."""
        missed = []
        if not scores and figures.mean_cosine < self.cosine_pass:
            missed.append(f"mean cosine is {figures.mean_cosine:.5f} (limit {self.cosine_pass:g})")
        if not scores and figures.min_cosine < self.cosine_fail:
            missed.append(f"the smallest cosine is {figures.min_cosine:.5f} (limit {self.cosine_fail:g})")
        if figures.spearman < self.rank_pass:
            missed.append(f"rank correlation of pairs is {figures.spearman:.4f} (limit {self.rank_pass:g})")
        return missed

    def fails(self, figures: EmbeddingFigures, *, scores: bool = False) -> bool:
        """Whether one figure alone is too far off. A rank correlation is, from three times the distance that passes:
        where all vectors point one way, cosines hide what search results show.
        """
        if 1 - figures.spearman > 3 * (1 - self.rank_pass):
            return True
        return not scores and figures.mean_cosine < self.cosine_fail
