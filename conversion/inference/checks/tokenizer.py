"""The artifact's tokenizer loses nothing of the evaluation texts and gives the ids that its parent's gives."""

from conversion.inference.checks.trial import Trial, record
from conversion.inference.engine import EngineError
from conversion.inference.report import Check
from conversion.inference.sandbox import Sandbox
from conversion.inference.windows import read_texts


def check_tokenizer(trial: Trial) -> None:
    with trial.report.check("tokenizer") as check:
        if trial.subject.kind != "decoder":
            check.skip("it has none that an engine reads")
            return
        try:
            _compare(trial, check)
        except EngineError as error:
            record(check, error)


def _compare(trial: Trial, check: Check) -> None:
    lines = [line for text in read_texts().values() for line in text.splitlines() if line.strip()]
    ours = [trial.artifact.tokenize(line, special=False) for line in lines]
    texts = [trial.artifact.detokenize(ids) for ids in ours]
    lost = [line for line, text in zip(lines, texts, strict=True) if line.split() != text.split()]
    if lost:
        check.fail(f"{len(lost)} of {len(lines)} lines do not survive encoding: {lost[0][:60]!r}", len(lost),
                   code="tokenizer-lossy")  # fmt: skip
    elif own := _parents_tokenizer(trial):
        theirs = [own.tokenize(line, special=False) for line in lines]
        differing = [line for line, a, b in zip(lines, ours, theirs, strict=True) if a != b]
        _judge(trial, check, differing, len(lines))
    else:
        check.pass_(f"{len(lines)} lines survive encoding and decoding; there is no parent's tokenizer")


def _parents_tokenizer(trial: Trial) -> Sandbox | None:
    if trial.reference is None or trial.reference.tokenizer is None:
        return trial.parent
    own = trial.open("tokenizer", trial.reference.tokenizer)
    trial.report.engines["parent's tokenizer"] = own.report
    return own


def _judge(trial: Trial, check: Check, differing: list[str], n_lines: int) -> None:
    share, limit = len(differing) / n_lines, trial.limits.tokenizer_differing_lines
    if not differing:
        check.pass_(f"the ids of all {n_lines} lines are those of the parent's tokenizer", share, limit)
        return
    what = f"{len(differing)} of {n_lines} lines have other ids than the parent's tokenizer gives"
    if share > limit:
        check.fail(f"{what}: {differing[0][:60]!r}", share, limit, code="tokenizer-differs")
    else:
        check.warn(f"{what}: {differing[0][:60]!r}", share, limit)
