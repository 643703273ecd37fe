"""A reading: what a parent says on the evaluation texts, computed once and kept, so that it need not run again.

| kept | of | bytes a position |
|---|---|---|
| all its logits, where the vocabulary is at most 4096 | each scored position | 4 x vocabulary |
| else the 256 largest logits with their ids, ... | each scored position | 2048 |
| ... and the probability of all other tokens, summed within 256 classes of neighbouring ids | the same | 1024 |
| ln of the sum of exponentials, and of the right token's probability | the same | 16 |
| the ids of the windows, of lines of text, and what it writes by itself | the model | |

From all logits the KL divergence is exactly what running both models gives. From the other form it is a lower bound:
summing probabilities within the cells of a partition, the same cells for parent p and artifact q, can only bring two
distributions nearer to each other (the log sum inequality; Cover and Thomas, Elements of Information Theory, 2.7). A
cell for each of the likeliest 256 tokens leaves little to lose.
"""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from conversion.inference.checks.trial import OnProgress, Reference
from conversion.inference.engine import EngineError, EngineReport, Facts
from conversion.inference.fidelity import Logits, Measured, Values, log_softmax, measure
from conversion.inference.fitting import way_of
from conversion.inference.greedy import N_NEW_TOKENS, PROMPTS, Continuation, continue_greedily
from conversion.inference.report import canonical_json
from conversion.inference.sandbox import Sandbox
from conversion.inference.selftest import check_engine
from conversion.inference.windows import TEXTS, WINDOW_SPEC, Window, cut_windows, read_texts

VERSION = 1
MAX_FULL_VOCABULARY = 4096
N_TOP = 256
N_CLASSES = 256
FULL = "full"
FOLDED = f"top-{N_TOP} + {N_CLASSES} classes, lower bound"
"""How a report names the two ways to compute a divergence."""

_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Heard:
    """What a parent says at n positions.

    log_sum: float64 (n,), ln of the sum of exp(logit). right: float64 (n,), ln of the right token's probability.
    """

    log_sum: Values
    right: Values

    def __getitem__(self, positions: slice) -> Self:
        return type(self)(**{name: part[positions] for name, part in vars(self).items()})

    def __len__(self) -> int:
        return len(self.log_sum)


@dataclass(frozen=True)
class InFull(Heard):
    """rows: float32 (n, n_vocab), all logits."""

    rows: Logits


@dataclass(frozen=True)
class Folded(Heard):
    """top_ids: int32 (n, 256) by falling logit; top_logits: float32 (n, 256); masses: float32 (n, 256), the
    probability of the other tokens of each class."""

    top_ids: NDArray[np.int32]
    top_logits: Logits
    masses: Logits


Said = InFull | Folded


@dataclass(frozen=True)
class Reading:
    """Everything a comparison needs of a parent. `said` runs through the scored positions of all windows in order.

    `strings` are ids by the parent's own tokenizer, without special tokens. `key` names what it was made of.
    """

    key: str
    facts: Facts
    engine: EngineReport
    texts: dict[str, str]
    windows: tuple[Window, ...]
    said: Said
    samples: tuple[Continuation, ...]
    strings: dict[str, list[int]]

    @property
    def divergence(self) -> str:
        """How a KL divergence is computed from it."""
        return FULL if isinstance(self.said, InFull) else FOLDED

    @cached_property
    def sha256(self) -> str:
        """The digest of its file."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """One safetensors file; the same reading always gives the same bytes."""
        from conversion.inference.reading_file import write_reading

        return write_reading(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Reading":
        """The reading in that file. Raises HeaderError `reading-…` for anything that `to_bytes` would not write."""
        from conversion.inference.reading_file import read_reading

        return read_reading(data)


def reading_key(parent: Mapping[str, str], engine: EngineReport) -> str:
    """sha256 over all that a reading depends on.

    `parent` are the digests of the parent's files by path, with the version of our converter where it runs as our
    GGUF; `engine` is what `check_engine` said. CPU and threads are left out: they move a divergence by 1e-6 at most.
    """
    parts = {
        "version": VERSION, "parent": dict(parent), "texts": TEXTS, "windows": WINDOW_SPEC,
        "engine": [engine.name, engine.package, engine.version, engine.library_version, engine.library_sha256],
        "kept": [MAX_FULL_VOCABULARY, N_TOP, N_CLASSES], "prompts": [*PROMPTS, N_NEW_TOKENS],
    }  # fmt: skip
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def make_reading(
    reference: Reference,
    parent: Mapping[str, str],
    *,
    threads: int = 1,
    memory_bytes: int = 0,
    strings: Iterable[str] = (),
    on_progress: OnProgress = lambda phase, share: None,
) -> Reading:
    """The reading of a parent, run in a sandbox window by window; one piece of 8 MiB of logits is held at a time.

    A parent larger than `memory_bytes` (0: what is free) is streamed, and then writes no samples.

    `parent` as for `reading_key`. The ids of the texts' lines and of `strings` are kept, by the parent's own tokenizer.
    Raises EngineError; `parent-not-run` for logits that are not finite.
    """
    engine = check_engine(reference.engine, threads)
    with ExitStack() as stack:
        way = way_of(reference.path, memory_bytes)
        model = stack.enter_context(
            Sandbox(reference.engine, way.path, threads=threads, streaming=way.streaming, limits=way.limits)
        )
        windows, parts = tuple(cut_windows(model, model.facts)), []
        model.foresee([(window.ids[:-1], window.first) for window in windows])
        for index, window in enumerate(windows):
            on_progress("reading", 0.9 * index / len(windows))
            parts += _read_window(model, window)
        prompts = PROMPTS if way.streaming is None else []  # a token would cost a read of the whole file
        samples = tuple(
            continue_greedily(model, prompt, model.tokenize(prompt, special=True)) for prompt in prompts
        )
        own = stack.enter_context(Sandbox("tokenizer", reference.tokenizer)) if reference.tokenizer else model
        ids = {text: own.tokenize(text, special=False) for text in [*text_lines(), *strings]}
        on_progress("reading", 1.0)
        key = reading_key(parent, engine)
        return Reading(key, model.facts, engine, dict(TEXTS), windows, _together(parts), samples, ids)


def text_lines() -> list[str]:
    """The lines of the evaluation texts that are not empty: what tokenizers are compared on."""
    return [line for text in read_texts().values() for line in text.splitlines() if line.strip()]


def _read_window(model: Sandbox, window: Window) -> list[Said]:
    parts: list[Said] = []
    done = 0
    for rows in model.logits(window.ids[:-1], first=window.first):
        if not np.isfinite(rows).all():
            raise EngineError("parent-not-run", "the parent's logits hold NaN or infinity")
        parts.append(hear(rows, window.next_ids[done : done + len(rows)]))
        done += len(rows)
    return parts


def _together(parts: list[Said]) -> Said:
    if not parts:
        raise EngineError("parent-not-run", "the parent's context is too short to read the texts")
    fields = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    return type(parts[0])(**fields)


def hear(
    rows: Logits, next_ids: tuple[int, ...], *, n_full: int = MAX_FULL_VOCABULARY, n_top: int = N_TOP,
    n_classes: int = N_CLASSES,
) -> Said:  # fmt: skip
    """What finite logits (n, n_vocab) say, in the form that is kept of a vocabulary of that size."""
    ln_p = log_softmax(rows)
    n = np.arange(len(rows))
    right = ln_p[n, list(next_ids)]
    best = rows.argmax(axis=1)
    log_sum = rows[n, best].astype(np.float64) - ln_p[n, best]
    if rows.shape[1] <= n_full:
        return InFull(log_sum, right, rows)
    ids = np.argpartition(rows, -n_top, axis=1)[:, -n_top:]
    # Of many equal logits a partition keeps any; the preferred token is the first of them, as argmax has it.
    left_out = (ids != best[:, None]).all(axis=1)
    ids[left_out, 0] = best[left_out]
    ids.sort(axis=1)
    order = np.argsort(-np.take_along_axis(rows, ids, axis=1), axis=1, kind="stable")
    ids = np.take_along_axis(ids, order, axis=1)
    masses = _class_masses(ln_p, ids, n_classes).astype(np.float32)
    return Folded(log_sum, right, ids.astype(np.int32), np.take_along_axis(rows, ids, axis=1), masses)


def _class_masses(ln_p: Values, top_ids: NDArray[np.integer], n_classes: int) -> Values:
    """The probability of every class without the tokens of `top_ids`: float64 (n, n_classes). Overwrites ln_p."""
    p = np.exp(ln_p, out=ln_p)
    np.put_along_axis(p, top_ids, 0.0, axis=1)
    starts = np.arange(n_classes) * p.shape[1] // n_classes
    masses: Values = np.add.reduceat(p, starts, axis=1)
    return masses


def compare(said: Said, artifact: Logits, next_ids: tuple[int, ...]) -> Measured:
    """The artifact's finite logits at the same positions, measured against what the parent said there."""
    if isinstance(said, InFull):
        return measure(said.rows, artifact, next_ids)
    ln_q = log_softmax(artifact)
    right = ln_q[np.arange(len(artifact)), list(next_ids)]
    same = artifact.argmax(axis=1) == said.top_ids[:, 0]
    return Measured(kld_from_reading(said, ln_q), same, said.right, right)


def kld_from_reading(said: Folded, ln_q: Values) -> Values:
    """A lower bound of the KL divergence at each position, float64 (n,); `ln_q` (n, n_vocab) is overwritten.

    The 256 likeliest tokens of the parent are a cell each, the others of a class one cell.
    """
    ln_p = said.top_logits.astype(np.float64) - said.log_sum[:, None]
    ln_q_top = np.take_along_axis(ln_q, said.top_ids, axis=1)
    kld = (np.exp(ln_p) * (ln_p - ln_q_top)).sum(axis=1)
    p, q = said.masses.astype(np.float64), _class_masses(ln_q, said.top_ids, said.masses.shape[1])
    # Where p is 0 the term is 0; where q is too small for a float64 a larger one keeps the bound a lower one.
    ratio = np.log(np.maximum(p, _TINY)) - np.log(np.maximum(q, _TINY))
    found: Values = np.maximum(kld + (p * ratio).sum(axis=1), 0.0)
    return found
