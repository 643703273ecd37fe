"""The logits are sane, and they are its parent's within the limits of the class; one pass over the windows."""

import math
from collections.abc import Iterator

import numpy as np

from conversion.inference.checks.trial import Reference, Trial, record
from conversion.inference.engine import EngineError
from conversion.inference.fidelity import Comparison, Logits, log_softmax
from conversion.inference.report import Check
from conversion.inference.sandbox import Sandbox
from conversion.inference.windows import TEXTS, Window, cut_windows


def check_fidelity(trial: Trial) -> None:
    """Fills the checks `forward` and `fidelity`."""
    trial.report.texts = dict(TEXTS)
    forward = trial.report.checks["forward"]
    try:
        comparison = _read_windows(trial, forward)
    except EngineError as error:
        record(forward, error)
        return
    if forward.verdict == "fail":
        return
    if trial.reference is None:
        trial.report.checks["fidelity"].skip("there is no parent to compare with")
    else:
        _judge(trial, trial.reference, comparison)


def _read_windows(trial: Trial, forward: Check) -> Comparison:
    reader = trial.parent or trial.artifact
    windows = list(cut_windows(reader, reader.facts))
    comparison = Comparison()
    _check_shapes(trial, forward, windows)
    for index, window in enumerate(windows):
        if forward.verdict == "fail":
            return comparison
        trial.on_progress("comparing", 0.3 + 0.6 * index / len(windows))
        with trial.report.check("forward"):
            _read_window(trial, forward, window, comparison)
    if forward.verdict != "fail":
        n = sum(window.n_scored for window in windows)
        forward.pass_(f"finite, lively logits at {n:,} positions")
    return comparison


def _check_shapes(trial: Trial, forward: Check, windows: list[Window]) -> None:
    ours = trial.artifact.facts
    theirs = (trial.parent or trial.artifact).facts
    if ours.n_vocab != theirs.n_vocab:
        forward.fail(f"{ours.n_vocab} logits a position, but the parent gives {theirs.n_vocab}",
                     ours.n_vocab, theirs.n_vocab, code="vocabulary-differs")  # fmt: skip
    elif not windows or ours.n_context < len(windows[0].ids):
        forward.fail(f"a context of {ours.n_context} tokens is too short to read the texts", ours.n_context)


def _read_window(trial: Trial, forward: Check, window: Window, comparison: Comparison) -> None:
    if trial.parent is None:
        for rows in _scored(trial.artifact, window):
            _check_sane(trial, forward, rows)
        return
    done = 0
    for theirs, ours in zip(_scored(trial.parent, window), _scored(trial.artifact, window), strict=True):
        _check_sane(trial, forward, ours)
        if forward.verdict == "fail":
            return
        if not np.isfinite(theirs).all():
            raise EngineError("parent-not-run", "the parent's logits hold NaN or infinity")
        comparison.add(theirs, ours, window.next_ids[done : done + len(ours)])
        done += len(ours)


def _scored(model: Sandbox, window: Window) -> Iterator[Logits]:
    """The logits that count: from `window.first` to the last position but one."""
    return model.logits(window.ids[:-1], first=window.first)


def _check_sane(trial: Trial, forward: Check, rows: Logits) -> None:
    if not np.isfinite(rows).all():
        forward.fail("its logits hold NaN or infinity", code="logits-not-finite")
        return
    ln_p = log_softmax(rows)
    share = float(-(np.exp(ln_p) * ln_p).sum(axis=1).mean()) / math.log(rows.shape[1])
    limit = trial.limits.uniform_entropy_share
    if share > limit:
        forward.fail(
            "it has no opinion: every token is almost equally likely", share, limit, code="logits-uniform"
        )
    elif len(rows) > 1 and float(rows.std(axis=0).max()) == 0.0:
        forward.fail("its logits are the same at every position", code="logits-constant")


def _judge(trial: Trial, reference: Reference, comparison: Comparison) -> None:
    figures = trial.report.figures = comparison.figures()
    limits = trial.limits.class_of(trial.header.entries, reference.dtypes)
    trial.report.limits_class = limits.name
    missed = limits.misses(figures)
    with trial.report.check("fidelity") as check:
        value, limit = figures.as_json(), vars(limits) | {"types": list(limits.types)}
        if figures.cautious_kld > limits.kld_fail or len(missed) > trial.limits.max_missed_pass_limits:
            what = f"it does not say what its parent says, for a file of class {limits.name}"
            check.fail(f"{what}: {'; '.join(missed)}", value, limit, code="too-far-from-parent")
        elif missed:
            check.warn(
                f"close to its parent for a file of class {limits.name}, but {missed[0]}", value, limit
            )
        else:
            kld = f"mean KLD {figures.mean_kld:.2g} ± {figures.kld_error:.1g}"
            same = f"the same next token at {figures.top1_agreement:.1%} of {figures.n_positions:,} positions"
            check.pass_(f"says what its parent says: {kld}, {same}", value, limit)
