"""How far one model is from another, position by position, in one pass and bounded memory.

Definitions as in llama.cpp's tools/perplexity (`kl_divergence`), with natural logarithms; p is the parent's next-token
distribution and q the artifact's, over the whole vocabulary:

| figure | definition |
|---|---|
| KL divergence | sum over tokens of p (ln p - ln q), at each position; reported as mean, standard error, p99, max |
| top-1 agreement | share of positions where both prefer the same token |
| ln PPL ratio | mean of -ln q(right token) minus mean of -ln p(right token) |
| RMS dp | root mean square of q(right token) - p(right token) |

Unlike llama.cpp, which stores the parent's logits as 16-bit numbers (5.5e-4 of divergence by itself), both sides are
float32 logits here and float64 arithmetic.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Values = NDArray[np.float64]

MAX_LN_PPL = 700.0
"""exp of more is no float64."""


@dataclass(frozen=True)
class Figures:
    """The distance of an artifact from its parent on `n_positions` scored positions."""

    n_positions: int
    mean_kld: float
    kld_error: float
    median_kld: float
    p99_kld: float
    max_kld: float
    top1_agreement: float
    ln_ppl_ratio: float
    ppl_parent: float
    ppl_artifact: float
    rms_dp: float

    @property
    def cautious_kld(self) -> float:
        """Mean plus three standard errors: what is compared with a limit."""
        return self.mean_kld + 3 * self.kld_error

    def as_json(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        kld = f"mean KLD {self.mean_kld:.2g} ± {self.kld_error:.1g}"
        return f"{kld}, the same next token at {self.top1_agreement:.1%} of {self.n_positions:,} positions"


@dataclass(frozen=True)
class Measured:
    """n positions of both: the divergence, whether both prefer the same token, and ln of the right token's probability.

    kld, parent and artifact are float64 (n,), same is bool (n,).
    """

    kld: Values
    same: NDArray[np.bool_]
    parent: Values
    artifact: Values


def measure(parent: Logits, artifact: Logits, next_ids: tuple[int, ...]) -> Measured:
    """Logits (n, n_vocab) of both, finite, at the same positions; `next_ids` are the n right answers."""
    ln_p, ln_q = log_softmax(parent), log_softmax(artifact)
    rows, right = np.arange(len(next_ids)), list(next_ids)
    # Rounding may give -1e-17 where both agree; the divergence itself is never negative.
    kld = np.maximum((np.exp(ln_p) * (ln_p - ln_q)).sum(axis=1), 0.0)
    return Measured(
        kld, parent.argmax(axis=1) == artifact.argmax(axis=1), ln_p[rows, right], ln_q[rows, right]
    )


@dataclass
class Comparison:
    """Collects positions, text by text; 40 bytes a position are kept."""

    _parts: dict[str, list[Measured]] = field(default_factory=dict)

    def add(self, part: Measured, text: str = "") -> None:
        self._parts.setdefault(text, []).append(part)

    @property
    def texts(self) -> list[str]:
        return list(self._parts)

    def figures(self, texts: Collection[str] | None = None) -> Figures:
        """Of the positions of these texts, of all if None; there must be one."""
        parts = [part for text in texts or self._parts for part in self._parts.get(text, ())]
        kld, same = (np.concatenate([getattr(part, name) for part in parts]) for name in ("kld", "same"))
        parent, artifact = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("parent", "artifact")
        )
        n = len(kld)
        return Figures(
            n_positions=n,
            mean_kld=float(kld.mean()),
            kld_error=float(kld.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0,
            median_kld=float(np.median(kld)),
            p99_kld=float(np.quantile(kld, 0.99)),
            max_kld=float(kld.max()),
            top1_agreement=float(same.mean()),
            ln_ppl_ratio=float(parent.mean() - artifact.mean()),
            ppl_parent=_perplexity(parent),
            ppl_artifact=_perplexity(artifact),
            rms_dp=float(np.sqrt(np.mean((np.exp(artifact) - np.exp(parent)) ** 2))),
        )


def _perplexity(ln_p: Values) -> float:
    """A number even where the right token is all but impossible: JSON knows no infinity."""
    return float(np.exp(min(-ln_p.mean(), MAX_LN_PPL)))


def log_softmax(logits: Logits) -> Values:
    """ln of the probabilities, (n, n_vocab) float64. Logits must be finite."""
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    return values


def top2_margin(logits: Logits) -> float:
    """By how many nats the best token of one row leads the second best."""
    best = np.partition(logits, -2)[-2:]
    return float(best[1]) - float(best[0])  # in float32 the difference of two finite numbers may be none


def are_all_alike(rows: Logits) -> bool:
    """Whether logits (n, n_vocab) are the same at every position, of which there are several."""
    return len(rows) > 1 and bool((rows == rows[0]).all())
