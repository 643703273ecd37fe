"""What both write. Judged for lossless files only.

Two almost equal tokens decide the rest of a text: SmolLM2-135M in Q4_1 begins its answer with "The" in one engine and
with "L" in another, both with the same file, because one of them rounds activations to 8 bits. So a quantised file is
never judged by its text, and a lossless one only until the first token at which the parent was in doubt.
"""

from collections.abc import Sequence

from conversion.inference.checks.trial import Trial, record
from conversion.inference.engine import EngineError
from conversion.inference.greedy import PROMPTS, Continuation, continue_greedily
from conversion.inference.report import Sample


def check_greedy(trial: Trial) -> None:
    trial.on_progress("writing", 0.9)
    with trial.report.check("greedy") as check:
        try:
            parted = [prompt for prompt in PROMPTS if _part_early(trial, prompt)]
        except EngineError as error:
            record(check, error)
            return
        if trial.report.limits_class != "lossless":
            check.skip("shown, not judged: it may choose the other of two almost equal tokens")
        elif parted:
            check.fail(f"it lost nothing, yet continues {parted[0]!r} unlike its parent", len(parted))
        else:
            check.pass_(f"continues {len(PROMPTS)} prompts as its parent does")


def _part_early(trial: Trial, prompt: str) -> bool:
    """The sample is in the report; true if the texts part at a token of which the parent was sure."""
    ids = (trial.parent or trial.artifact).tokenize(prompt, special=True)
    ours = continue_greedily(trial.artifact, prompt, ids)
    if trial.parent is None:
        trial.report.samples.append(Sample(prompt, "", ours.text, 0))
        return False
    theirs = continue_greedily(trial.parent, prompt, ids)
    n_equal = _n_equal(ours.tokens, theirs.tokens)
    trial.report.samples.append(Sample(prompt, theirs.text, ours.text, n_equal))
    return _was_sure(theirs, n_equal, trial.limits.greedy_margin_nats)


def _was_sure(theirs: Continuation, position: int, margin: float) -> bool:
    return position < len(theirs.tokens) and theirs.margins[position] >= margin


def _n_equal(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """How many tokens both begin with."""
    n = 0
    for a, b in zip(ours, theirs, strict=False):
        if a != b:
            break
        n += 1
    return n
