"""What a model writes when it always takes the likeliest token, and where two models part.

Two almost equal tokens decide the rest of a text: SmolLM2-135M in Q4_1 begins its answer with "The" in one engine and
with "L" in another, both with the same file, because one of them rounds activations to 8 bits. So a quantised file is
never judged by its text, and a lossless one only until the first token at which the parent was in doubt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conversion.inference.checks.trial import Trial, parents_fault
from conversion.inference.fidelity import top2_margin
from conversion.inference.report import Sample
from conversion.inference.sandbox import Sandbox

PROMPTS = ["And it came to pass", "It is a truth universally acknowledged", "The capital of France is"]
N_NEW_TOKENS = 24


@dataclass(frozen=True)
class Continuation:
    """The tokens after a prompt's ids, by how many nats each led the second best, and all of it as text."""

    prompt: str
    ids: tuple[int, ...]
    tokens: tuple[int, ...]
    margins: tuple[float, ...]
    text: str


def continue_greedily(
    model: Sandbox, prompt: str, ids: Sequence[int], n_tokens: int = N_NEW_TOKENS
) -> Continuation:
    """At most `n_tokens` after the prompt whose ids are given, fewer where the text or the context ends.

    Raises EngineError.
    """
    tokens: list[int] = []
    margins: list[float] = []
    fed, extend = list(ids), False
    room = model.facts.n_context - len(ids)
    while len(tokens) < min(n_tokens, room):
        (rows,) = model.logits(fed, first=len(fed) - 1, extend=extend)
        token = int(np.argmax(rows[0]))
        if model.is_end(token):
            break
        tokens.append(token)
        margins.append(top2_margin(rows[0]))
        fed, extend = [token], True
    begin = 1 if ids and ids[0] == model.facts.bos_id else 0
    text = model.detokenize([*ids[begin:], *tokens])
    return Continuation(prompt, tuple(ids), tuple(tokens), tuple(margins), text.strip())


def compare_texts(trial: Trial) -> list[str]:
    """The samples are in the report; the prompts after which the texts part at a token of which the parent was sure."""
    return [prompt for prompt in PROMPTS if _part_early(trial, prompt)]


def _part_early(trial: Trial, prompt: str) -> bool:
    theirs = _parents(trial, prompt)
    ids = theirs.ids if theirs else trial.artifact.tokenize(prompt, special=True)
    ours = continue_greedily(trial.artifact, prompt, ids)
    trial.tokens["writes"] += len(ours.tokens)
    if theirs is None:
        trial.report.samples.append(Sample(prompt, "", ours.text, 0))
        return False
    n_equal = _n_equal(ours.tokens, theirs.tokens)
    trial.report.samples.append(Sample(prompt, theirs.text, ours.text, n_equal))
    return _was_sure(theirs, n_equal, trial.limits.greedy_margin_nats)


def _parents(trial: Trial, prompt: str) -> Continuation | None:
    """What the parent writes, or once wrote; None where there is no parent."""
    if trial.reading:
        return next((sample for sample in trial.reading.samples if sample.prompt == prompt), None)
    if trial.parent is None:
        return None
    with parents_fault():
        return continue_greedily(trial.parent, prompt, trial.parent.tokenize(prompt, special=True))


def _was_sure(theirs: Continuation, position: int, margin: float) -> bool:
    return position < len(theirs.tokens) and theirs.margins[position] >= margin


def _n_equal(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = zip(ours, theirs, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
