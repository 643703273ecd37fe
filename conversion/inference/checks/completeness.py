"""Nothing is missing: every layer that is announced, every tensor of a layer, a row of weights for every token.

And the numbers that describe the network are possible, and those of its parent.

That files of one model belong together (index and shards) was found when they were opened; such a fault is
written here by integrity.
"""

from conversion.formats.errors import HeaderError
from conversion.inference.checks.trial import Trial
from conversion.inference.gaps import OUTPUT, Outline, find_gaps, outline_of_checkpoint
from conversion.inference.hyperparameters import Misfit, misfits
from conversion.inference.report import Check
from conversion.inference.subjects import Look
from conversion.naming import NamingError, UnsupportedArchitecture

MAX_NAMED = 20
MODELS = ("decoder", "embedding")
TOKENS = "tokenizer.ggml.tokens"


def check_completeness(trial: Trial) -> None:
    with trial.report.check("completeness") as check:
        _look_for_gaps(trial, check)
        if check.verdict == "pass" and (found := _misfits(trial)):
            words, code = found[0]
            check.fail(words, [words for words, _ in found[:MAX_NAMED]], code=code)


def _look_for_gaps(trial: Trial, check: Check) -> None:
    try:
        entries = trial.look.plain.entries
    except HeaderError as error:
        check.fail(f"its tensors are not those of its config: {error}", code=error.code)
        return
    if not entries and trial.subject.kind != "onnx":  # a graph may do without
        check.fail("it holds no tensor at all", code="no-tensors")
        return
    n_parameters = sum(entry.n_elements for entry in entries.values())
    trial.report.artifact["n_parameters"] = n_parameters
    counted = f"{len(entries)} tensors, {n_parameters:,} parameters"
    if trial.subject.kind not in MODELS:
        check.pass_(counted, n_parameters)
        return
    if trial.look.config.get("quantization_config") and not trial.look.is_packed:
        check.pass_(f"{counted}, packed in a way that is not known here", n_parameters)
        return
    try:
        outline = _outline(trial.look)
    except UnsupportedArchitecture:
        check.pass_(
            f"{counted}; what {trial.subject.architecture} should have is not known here", n_parameters
        )
    except (NamingError, HeaderError) as error:
        check.fail(f"its tensors are not those of its config: {error}", code=error.code)
    else:
        _judge(check, trial.look, outline, counted, n_parameters)


def _outline(look: Look) -> Outline:
    shapes = {name: entry.shape for name, entry in look.weights.entries.items()}
    if look.header is None:
        return outline_of_checkpoint(look.plain, look.config)
    tokens = look.header.metadata.get(TOKENS)
    metadata = {key: value.preview for key, value in look.header.metadata.items()}
    return Outline(look.architecture, shapes, metadata, tokens.length if tokens else None)


def _judge(check: Check, look: Look, outline: Outline, counted: str, n_parameters: int) -> None:
    gaps = find_gaps(outline)
    has_own_output = OUTPUT in outline.shapes
    if not has_own_output and look.config.get("tie_word_embeddings") is False:
        gaps.missing.append("there is no lm_head.weight, and the config says that it is not the embeddings'")
    if gaps.code:
        found = gaps.sentences
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        check.fail(f"it is not complete: {found[0]}{more}", found[:MAX_NAMED], code=gaps.code)
        return
    tied = "" if has_own_output else ", the output shares the embeddings' weights"
    check.pass_(f"{counted}{tied}", n_parameters)


def _misfits(trial: Trial) -> list[Misfit]:
    """Of a quant the parent's own numbers are asked for; what is meant to differ from its parent may have others."""
    if trial.header is None:
        return []
    reference = trial.reference
    tensors = reference.tensors if reference is not None and reference.relation == "quantized" else None
    return list(
        misfits(trial.header, tensors.plan.metadata if tensors is not None and tensors.plan else None)
    )
