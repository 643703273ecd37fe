"""Language models that predict the next token: windows of text through the artifact and its parent, side by side.

One pass serves two checks: forward looks at the artifact's logits, fidelity at their distance from the parent's.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from conversion.inference.checks.trial import Reference, Trial, parents_fault
from conversion.inference.engine import EngineError, Facts
from conversion.inference.fidelity import Logits, are_all_alike, log_softmax, measure
from conversion.inference.fitting import Way, Ways, blaming_the_cut, seconds_to_run, way_of, ways_of
from conversion.inference.greedy import compare_texts
from conversion.inference.installed import has_transformers
from conversion.inference.kinds.base import Kind
from conversion.inference.limits import judge_figures
from conversion.inference.own_gguf import write_gguf
from conversion.inference.readings import FULL, Reading, Said, compare
from conversion.inference.report import Check
from conversion.inference.sandbox import Sandbox
from conversion.inference.selftest import check_engine
from conversion.inference.windows import PROSE, TEXTS, Window, cut_windows
from conversion.naming import NamingError
from conversion.quants import QuantError

ENGINE_OF = {"GGUF": "llama.cpp", "safetensors": "transformers"}
"""Container -> the engine that runs it."""

MAX_CONVERTED_BYTES = 32 * 2**30

SAYS_THE_SAME = ("quantized", "conversion")
"""Relations of which the limits hold. For a fine-tune or a merge the distance from its parent is a fact of lineage."""


def load(trial: Trial, check: Check) -> None:
    if trial.header is None:
        _check_time(trial)
    is_converted = _is_converted(trial)
    engine = "llama.cpp" if is_converted else ENGINE_OF[trial.subject.container]
    trial.report.engines["artifact"] = check_engine(engine, trial.threads)
    ways = _converted(trial) if is_converted else ways_of(trial)
    trial.report.level = ways.level
    with blaming_the_cut(trial.report.level):
        trial.artifact = ways.artifact.open(trial, engine)
    trial.report.isolation = trial.artifact.isolation
    facts = trial.artifact.facts
    name = facts.description.replace(" ?B", "")  # how llama.cpp says that it is below a billion
    check.pass_(f"loads{ways.manner}: {name}, {facts.n_vocab} tokens, context {facts.n_context}")
    if trial.reference is not None:
        _open_parent(trial, trial.reference, ways)


def _check_time(trial: Trial) -> None:
    """EngineError `engine-timeout` for a checkpoint that would not end in time; only a GGUF can be cut to layers."""
    seconds = seconds_to_run(trial.look.plain, trial.threads)
    if seconds > trial.max_seconds:
        raise EngineError(
            "engine-timeout",
            f"to run it takes about {seconds / 60:,.0f} minutes, and a run may take {trial.max_seconds / 60:,.0f} here",
        )


def _is_converted(trial: Trial) -> bool:
    """A packed checkpoint runs as the numbers it stands for: no GPU, and no package of its format. So does any
    checkpoint where transformers is not installed."""
    if trial.look.is_packed:
        return True
    return ENGINE_OF[trial.subject.container] == "transformers" and not has_transformers()


def _converted(trial: Trial) -> Ways:
    """A checkpoint as our own F32 GGUF of it, in llama.cpp.

    Raises EngineError for what we cannot convert: `unsupported-architecture` if it is packed, else `engine-missing`.
    """
    if 4 * trial.report.artifact["n_parameters"] > MAX_CONVERTED_BYTES:
        raise EngineError(
            "engine-out-of-memory", f"as an F32 GGUF it takes more than {MAX_CONVERTED_BYTES} bytes"
        )
    scratch = trial.stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-converted-"))
    what = "its unpacked weights" if trial.look.is_packed else "it"
    trial.report.artifact["run_as"] = {"artifact": f"our own F32 GGUF of {what}"}
    try:
        path = write_gguf(trial.path, Path(scratch) / "artifact.gguf")
    except (NamingError, QuantError) as error:
        if not trial.look.is_packed:
            raise EngineError("engine-missing", f"transformers is not installed here, and for llama.cpp it cannot be "
                              f"converted: {error}") from error  # fmt: skip
        raise EngineError("unsupported-architecture", f"it cannot be unpacked and run: {error}") from error
    parent = trial.reference.path if trial.reference else None
    return Ways(way_of(path, trial.memory_bytes), Way(parent) if parent else None)


def _open_parent(trial: Trial, reference: Reference, ways: Ways) -> None:
    """The parent runs, or its reading is there. An artifact is judged without its parent only if none was given."""
    if ways.level:
        # What a parent said once was said by all its layers.
        trial.reference = reference = replace(reference, reading=None, engine="llama.cpp")
    if ways.parent is None and reference.reading is None:
        return
    if reference.reading is not None:
        _open_reading(trial, reference.reading)
        return
    trial.on_progress("loading the parent", 0.25)
    with trial.report.check("fidelity") as check:
        try:
            trial.report.engines["parent"] = check_engine(reference.engine, trial.threads)
            trial.parent = ways.parent.open(trial, reference.engine) if ways.parent else None
            if trial.parent is not None and trial.parent.streaming:
                trial.report.parent["streamed"] = True
        except EngineError as error:
            # Never the artifact's fault, whatever is wrong with the parent.
            code = error.code if error.says_nothing_of_the_file else "parent-not-run"
            check.error(f"the parent could not be run: {error}", error.facts, code=code)


def _open_reading(trial: Trial, reading: Reading) -> None:
    trial.report.parent["reading"] = reading.sha256
    trial.report.engines["parent"] = reading.engine
    if reading.texts != TEXTS:
        trial.report.checks["fidelity"].error(
            "the parent's reading is of other texts than those we judge by; make it anew",
            code="reading-stale",
        )


def forward(trial: Trial, check: Check) -> None:
    """The check is written; the distance of every scored position from the parent's is in `trial.comparison`."""
    with blaming_the_cut(trial.report.level), trial.timed("reads"):
        _forward(trial, check)


def _forward(trial: Trial, check: Check) -> None:
    trial.report.texts |= TEXTS
    reader = trial.parent or trial.artifact
    windows = trial.reading.windows if trial.reading else tuple(cut_windows(reader, reader.facts))
    _check_shapes(trial, check, windows, (trial.reading or reader).facts)
    for model in filter(None, (trial.artifact, trial.parent)):
        model.foresee([(window.ids[:-1], window.first) for window in windows])
    done = 0
    for index, window in enumerate(windows):
        if check.verdict == "fail":
            return
        trial.on_progress("comparing", 0.3 + 0.6 * index / len(windows))
        heard = trial.reading.said[done : done + window.n_scored] if trial.reading else None
        _read_window(trial, check, window, heard)
        trial.tokens["reads"] += len(window.ids) - 1
        done += window.n_scored
    if check.verdict != "fail":
        check.pass_(f"finite, lively logits at {done:,} positions")


def _check_shapes(trial: Trial, check: Check, windows: Sequence[Window], theirs: Facts) -> None:
    ours = trial.artifact.facts
    if ours.n_vocab != theirs.n_vocab:
        check.fail(f"{ours.n_vocab} logits a position, but the parent gives {theirs.n_vocab}",
                   ours.n_vocab, theirs.n_vocab, code="vocabulary-differs")  # fmt: skip
    elif not windows or ours.n_context < len(windows[0].ids):
        check.fail(f"a context of {ours.n_context} tokens is too short to read the texts", ours.n_context,
                   code="context-short")  # fmt: skip


def _read_window(trial: Trial, check: Check, window: Window, heard: Said | None) -> None:
    """`heard` is what the parent said there; without it the parent is asked now, if there is one."""
    done = 0
    for ours, theirs in _pieces(trial.artifact, trial.parent if not heard else None, window):
        _check_sane(trial, check, ours)
        if check.verdict == "fail":
            return
        here = slice(done, done + len(ours))
        if heard:
            trial.comparison.add(compare(heard[here], ours, window.next_ids[here]), window.text)
        elif theirs is not None:
            trial.comparison.add(measure(theirs, ours, window.next_ids[here]), window.text)
        done += len(ours)


def _pieces(
    artifact: Sandbox, parent: Sandbox | None, window: Window
) -> Iterator[tuple[Logits, Logits | None]]:
    """The scored logits of the artifact, and of the parent if it runs, piece by piece.

    An engine computes a window before it gives the first piece, and both do so at the same time.
    """
    if parent is None:
        yield from ((ours, None) for ours in _scored(artifact, window))
        return
    answers = _answers(parent, window)
    with ThreadPoolExecutor(1) as pool:
        first: Future[Logits] | None = pool.submit(next, answers)
        for ours in _scored(artifact, window):
            yield ours, first.result() if first else next(answers)
            first = None


def _answers(parent: Sandbox, window: Window) -> Iterator[Logits]:
    with parents_fault():
        for rows in _scored(parent, window):
            if not np.isfinite(rows).all():
                raise EngineError("parent-not-run", "the parent's logits hold NaN or infinity")
            yield rows


def _scored(model: Sandbox, window: Window) -> Iterator[Logits]:
    """The logits that count: from `window.first` to the last position but one."""
    return model.logits(window.ids[:-1], first=window.first)


def _check_sane(trial: Trial, check: Check, rows: Logits) -> None:
    if not np.isfinite(rows).all():
        check.fail("its logits hold NaN or infinity", code="logits-not-finite")
        return
    ln_p = log_softmax(rows)
    share = float(-(np.exp(ln_p) * ln_p).sum(axis=1).mean()) / math.log(rows.shape[1])
    limit = trial.limits.uniform_entropy_share
    if share > limit and not trial.report.is_cut:  # a few layers may well have no opinion yet
        check.fail(
            "it has no opinion: every token is almost equally likely", share, limit, code="logits-uniform"
        )
    elif are_all_alike(rows):
        check.fail("its logits are the same at every position", code="logits-constant")


def fidelity(trial: Trial, check: Check) -> None:
    """The figures are held against the limits; then both write, for the eye, and a lossless file for its verdict."""
    if trial.reference is None or not trial.comparison.texts:
        check.skip("there is no parent to compare with")
    else:
        _measure(trial)
        _judge(trial, check, trial.reference)
    if trial.report.is_cut or trial.artifact.streaming or (trial.parent and trial.parent.streaming):
        return  # layers alone write nothing that makes sense, and a token would cost a read of the whole file
    trial.on_progress("writing", 0.9)
    with trial.timed("writes"):
        parted = compare_texts(trial)
    if parted and trial.report.limits_class == "lossless" and check.verdict in ("pass", "warn"):
        check.fail(f"it lost nothing, yet continues {parted[0]!r} unlike its parent", len(parted),
                   code="greedy-differs")  # fmt: skip


def _measure(trial: Trial) -> None:
    """The report has the figures: of the prose, which the limits are for, and of every text by itself."""
    comparison, report = trial.comparison, trial.report
    report.figures = comparison.figures([text for text in comparison.texts if text in PROSE])
    report.by_text = {text: comparison.figures([text]) for text in comparison.texts}
    report.divergence = trial.reading.divergence if trial.reading else FULL


def _judge(trial: Trial, check: Check, reference: Reference) -> None:
    report, figures = trial.report, trial.report.figures
    if figures is None:
        return
    if reference.relation not in SAYS_THE_SAME:
        check.skip(f"a {reference.relation} may say something else than its parent; it is {figures} from it")
        return
    limits = trial.limits.class_of(trial.look.weights.entries.values(), reference.dtypes, trial.look.config)
    report.limits_class, report.yardstick = limits.name, reference.yardstick
    if report.is_cut:
        # The limits are those of whole models.
        check.pass_(f"as far as it ran, {figures} beside its parent", figures.as_json())
        return
    judge_figures(check, figures, limits, trial.limits, reference.yardstick)
    far = [text for text, one in report.by_text.items() if one.mean_kld - 3 * one.kld_error > limits.kld_fail]
    if far and check.verdict != "fail":
        kld = report.by_text[far[0]].mean_kld
        check.fail(f"on {far[0]} it does not say what its parent says: mean KLD {kld:.3g} (limit {limits.kld_fail:g})",
                   figures.as_json(), limits.kld_fail, code="too-far-from-parent")  # fmt: skip


DECODER = Kind(load, forward, fidelity)
