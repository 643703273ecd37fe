"""ONNX networks of any purpose: run on inputs made for them, and compared with another version or with their weights.

The parent may be another ONNX file of the same network, run on the same inputs; or a checkpoint, whose weights must be
in the file, value for value. What exporters fold, fuse or cut up is then not found, and nothing is held against it.
"""

from collections import Counter

import numpy as np

from conversion.formats.onnx import OnnxWeights, Port, files_beside
from conversion.inference.checks.trial import Trial
from conversion.inference.engine import EngineError
from conversion.inference.kinds.base import Kind
from conversion.inference.onnx_inputs import Feed, feeds_to_try, has_free_dimensions
from conversion.inference.onnx_selftest import check_onnxruntime
from conversion.inference.onnxruntime import OBJECTS
from conversion.inference.outputs import OutputFigures, Outputs, compare_outputs, differing_shapes
from conversion.inference.report import Check
from conversion.inference.same_values import find_same_values
from conversion.inference.sandbox import Sandbox
from conversion.inference.subjects import Look, look_at

ENGINE = "onnxruntime"
LOSSLESS, PACKED_4_BIT = "lossless", "com.microsoft:MatMulNBits"
CLASSES = {
    "F16": "cast", "BF16": "cast", "F8_E4M3": "fp8", "F8_E5M2": "fp8", "I8": "8 bit", "U8": "8 bit", "I4": "4 bit",
    "U4": "4 bit", "F4": "4 bit", "I2": "2 bit", "U2": "2 bit",
}  # fmt: skip
"""Type of most weights -> class of limits.json; what is not here lost nothing."""

MAX_LISTED = 50


def load(trial: Trial, check: Check) -> None:
    trial.report.engines["artifact"] = check_onnxruntime(trial.threads)
    trial.artifact = _open(trial, trial.look)
    trial.report.isolation = trial.artifact.isolation
    model = _weights(trial.look).model
    trial.report.artifact |= {
        "opsets": {domain or "ai.onnx": version for domain, version in model.opsets.items()},
        "operators": dict(model.operators.most_common(MAX_LISTED)),
        "external_data": list(model.locations[:MAX_LISTED]),
        "inputs": [_shown(port) for port in model.inputs[:MAX_LISTED]],
        "outputs": [_shown(port) for port in model.outputs[:MAX_LISTED]],
    }
    told = f"loads: {model.operators.total()} nodes, {trial.artifact.facts.description}"
    if OBJECTS in told:
        check.warn(told)
    else:
        check.pass_(told)


def _weights(look: Look) -> OnnxWeights:
    if not isinstance(look.weights, OnnxWeights):
        raise EngineError("load-refused", f"{look.path.name} is not an ONNX file")
    return look.weights


def _open(trial: Trial, look: Look) -> Sandbox:
    beside = files_beside(look.path, _weights(look).model)
    return trial.open(ENGINE, look.path, beside=list(beside.values()))


def _shown(port: Port) -> str:
    if port.shape is None:
        return f"{port.name}: no tensor"
    return f"{port.name}: {port.dtype} [{', '.join(str(one) or '?' for one in port.shape)}]"


def forward(trial: Trial, check: Check) -> None:
    """The check is written; the feeds that fit and what came of them are kept for the next one."""
    model = _weights(trial.look).model
    found = _first_that_fits(trial, model.inputs)
    if found is None:
        return _say_why_not(trial, check, model.inputs)
    feeds, outputs = found
    trial.kept.update(feeds=feeds, ours=outputs)
    named = {name: values for name, values in outputs.items() if not np.isfinite(values).all()}
    n_values = sum(values.size for values in outputs.values())
    if named:
        check.fail(f"NaN or infinity in its output {next(iter(named))!r:.80}", code="outputs-not-finite")
    elif not n_values:
        check.fail("it gives no values at all", code="outputs-empty")
    else:
        given = ", ".join(f"{feed.name} {list(feed.shape)}" for feed in feeds[:8])
        check.pass_(f"{n_values:,} finite values in {len(outputs)} outputs of {given}"[:300], n_values)
    return None


def _first_that_fits(trial: Trial, inputs: list[Port]) -> tuple[tuple[Feed, ...], Outputs] | None:
    """The first feeds that the network can work with, and its outputs. What it said of the last others is kept."""
    for feeds in feeds_to_try(inputs):
        try:
            return feeds, trial.artifact.run(feeds)
        except EngineError as error:
            if error.code != "decode-failed":
                raise
            trial.kept["said"] = str(error)
    return None


def _say_why_not(trial: Trial, check: Check, inputs: list[Port]) -> None:
    """Sizes that the graph leaves open may be none that we tried; a network with none open has no excuse."""
    said = trial.kept.get("said", "")
    if said and not has_free_dimensions(inputs):
        check.fail(f"it fails on inputs of the shapes that it asks for: {said}"[:400], code="decode-failed")
    elif said:
        check.skip(f"none of the sizes that were tried for its free dimensions fit: {said}"[:400])
    else:
        check.skip("it reads texts or sequences, which nobody here makes up")
    trial.report.level = "tensors"


def fidelity(trial: Trial, check: Check) -> None:
    if trial.reference is None:
        check.skip("there is no parent to compare with")
        return
    look = look_at(trial.reference.path, trial.stack)
    if isinstance(look.weights, OnnxWeights):
        _compare_runs(trial, check, look)
    else:
        _compare_weights(trial, check, look)


def _compare_runs(trial: Trial, check: Check, parent: Look) -> None:
    if "ours" not in trial.kept:
        check.skip("it was not run, so there is nothing to compare")
        return
    given = {feed.name for feed in trial.kept["feeds"]}
    further = [port for port in _weights(parent).model.inputs if port.name not in given]
    if has_free_dimensions(further):
        check.skip(f"its parent asks for an input that it does not have: {further[0].name!r:.80}")
        return
    try:
        theirs = _open(trial, parent).run([*trial.kept["feeds"], *next(feeds_to_try(further), ())])
    except EngineError as error:
        code = error.code if error.says_nothing_of_the_file else "parent-not-run"
        check.error(f"the parent could not be run: {error}", error.facts, code=code)
        return
    if differing := differing_shapes(theirs, trial.kept["ours"]):
        check.fail(f"its outputs are not its parent's: {'; '.join(differing[:3])}", code="outputs-differ")
    else:
        _judge(trial, check, compare_outputs(theirs, trial.kept["ours"]))


def _judge(trial: Trial, check: Check, figures: OutputFigures) -> None:
    """A network with other types than its parent's is held against the cosine of its class, as vectors are."""
    name = trial.report.limits_class = _class_of(_weights(trial.look))
    if name == LOSSLESS:
        _judge_numbers(trial, check, figures)
        return
    limits, value = trial.limits.vectors[name], figures.as_json()
    what = (
        f"cosine {figures.cosine:.5f}, relative deviation {figures.relative:.2g}, for a file of class {name}"
    )
    if figures.cosine < limits.cosine_fail:
        check.fail(f"it does not compute what its parent computes: {what}", value, limits.cosine_fail,
                   code="too-far-from-parent")  # fmt: skip
    elif figures.cosine < limits.cosine_pass:
        check.warn(f"close to its parent, but {what}", value, limits.cosine_pass)
    else:
        check.pass_(f"computes what its parent computes: {what}", value, limits.cosine_pass)


def _class_of(weights: OnnxWeights) -> str:
    """By the type that most of its weights have. Four bits are packed into bytes by one operator of Microsoft's."""
    if PACKED_4_BIT in weights.model.operators:
        return "4 bit"
    sizes: Counter[str] = Counter()
    for entry in weights.entries.values():
        sizes[entry.dtype] += entry.n_elements
    return CLASSES.get(sizes.most_common(1)[0][0], LOSSLESS) if sizes else LOSSLESS


def _judge_numbers(trial: Trial, check: Check, figures: OutputFigures) -> None:
    limits, value = trial.limits.networks, figures.as_json()
    what = f"relative deviation {figures.relative:.2g} in {figures.worst!r:.60}"
    if figures.relative > limits.relative_fail:
        check.fail(f"it does not compute what its parent computes: {what}", value, vars(limits).copy(),
                   code="too-far-from-parent")  # fmt: skip
    elif figures.relative > limits.relative_pass:
        check.warn(f"close to its parent, but {what}", value, vars(limits).copy())
    else:
        check.pass_(f"computes what its parent computes: {what}", value, vars(limits).copy())


def _compare_weights(trial: Trial, check: Check, parent: Look) -> None:
    found = find_same_values(parent.weights, trial.look.weights)
    n = found.n_found + len(found.not_found)
    if found.n_found and not found.not_found:
        check.pass_(f"all {n} weights of its parent are in it, value for value", found.as_json())
    else:
        check.skip(
            f"{found.n_found} of {n} weights of its parent are in it value for value; exporters change the others, so "
            "that nothing follows"
        )
        check.value = found.as_json()


ONNX = Kind(load, forward, fidelity)
