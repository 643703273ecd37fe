"""Every weight is a number, and every tensor of a quant is as near to its parent's as its type allows.

No engine is needed, nor memory for the model: this is what is always known, whatever the size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conversion.formats.errors import HeaderError
from conversion.formats.packed.base import MAX_PART_BYTES
from conversion.formats.weights import Weights
from conversion.inference.checks.trial import Trial, record
from conversion.inference.distances import FLOATS
from conversion.inference.engine import EngineError
from conversion.inference.limits import TensorLimits
from conversion.inference.parents import ParentTensors
from conversion.inference.report import Check
from conversion.inference.subjects import Look
from conversion.inference.surveying import Line, Survey, survey
from conversion.inference.tracing import trace
from conversion.quants import QuantError

MAY_LACK = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight", "output.weight")
"""Made by some converters and not by others, or the embedding once more."""

EMBEDDINGS = ("token_embd.weight", "output.weight")
MAX_TRACED = 8
MAX_NAMED = 20
PROGRESS = (0.1, 0.2)


@dataclass(frozen=True)
class Finding:
    """Something wrong with one tensor, as a sentence that names it."""

    code: str
    tensor: str
    says: str
    is_failure: bool = True

    def __str__(self) -> str:
        return f"{self.tensor}: {self.says}"

    def as_json(self) -> dict[str, str]:
        return {"code": self.code, "tensor": self.tensor, "says": self.says}


def check_tensors(trial: Trial) -> None:
    with trial.report.check("tensors") as check:
        try:
            _check(trial, check)
        except EngineError as error:
            record(check, error)
        except (HeaderError, QuantError) as error:
            check.fail(f"its tensors cannot be read: {error}", code=error.code)


def _check(trial: Trial, check: Check) -> None:
    parent = _comparable(trial)
    found = _surveyed(trial, parent)
    findings = _findings(trial, found, parent)
    value, limits = _value(found, findings, parent), vars(trial.limits.tensors) if parent else None
    failures = [finding for finding in findings if finding.is_failure]
    if failures:
        check.fail(_said(failures), value, limits, code=failures[0].code)
    elif findings:
        check.warn(_said(findings), value, limits)
    else:
        check.pass_(_healthy(found, parent, is_packed=trial.look.is_packed), value, limits)


def _comparable(trial: Trial) -> ParentTensors | None:
    """The parent's tensors, where they go by the artifact's names; exporters to ONNX name and fold as they please."""
    tensors = trial.reference.tensors if trial.reference and trial.subject.kind != "onnx" else None
    if tensors is None or tensors.is_gguf != (trial.look.header is not None):
        return None
    return (
        tensors if tensors.is_gguf or tensors.targets.keys() & _readable(trial.look).entries.keys() else None
    )


def _readable(look: Look) -> Weights:
    """Of a packed checkpoint the weights that it stands for, unless a part is too large to be unpacked."""
    largest = max((entry.length for entry in look.weights.entries.values()), default=0)
    return look.plain if largest <= MAX_PART_BYTES else look.weights


def _surveyed(trial: Trial, parent: ParentTensors | None) -> Survey:
    weights = _readable(trial.look)
    total = max(1, sum(entry.n_elements for entry in weights.entries.values()))
    done, (begin, end) = 0, PROGRESS

    def on_values(n_values: int) -> None:
        nonlocal done
        done += n_values
        trial.on_progress("tensors", begin + (end - begin) * done / total)

    trial.on_progress("tensors", begin)
    return survey(weights, parent, on_values)


def _findings(trial: Trial, found: Survey, parent: ParentTensors | None) -> list[Finding]:
    findings = [_not_finite(line) for line in found.lines if not line.is_finite]
    if parent is not None and trial.reference is not None and trial.reference.relation == "quantized":
        findings += _absent(found, parent)
        is_far = _lost_all if trial.look.is_rescaled else _far
        findings += [
            finding for line in found.lines if (finding := is_far(line, parent, trial.limits.tensors))
        ]
        return _traced(trial, findings, parent) or _not_ours(trial, found)
    zero = [line.entry.name for line in found.lines if line.is_all_zero]
    return findings + [Finding("tensor-zero", name, "nothing but zeros", is_failure=False) for name in zero]


def _not_finite(line: Line) -> Finding:
    counts = {"NaN": line.found.n_nan, "infinity": line.found.n_infinite}
    what = " and ".join(f"{name} at {count:,}" for name, count in counts.items() if count)
    return Finding("tensor-not-finite", line.entry.name, f"{what} of {line.found.n_values:,} values")


def _absent(found: Survey, parent: ParentTensors) -> list[Finding]:
    """Names or shapes that are not the parent's. Adding a tensor spoils nothing that can be seen here, nor does leaving
    one out of a checkpoint, which may name it otherwise or hold it once for two."""
    missing = [name for name in found.missing if name not in MAY_LACK]
    unexpected = [name for name in found.unexpected if name not in MAY_LACK]
    return [
        *(
            Finding("tensor-missing", name, "the parent has it, the file does not", parent.is_gguf)
            for name in missing
        ),
        *(Finding("tensor-shape", name, "its shape is not the parent's") for name in found.misshapen),
        *(Finding("tensor-unexpected", name, "the parent has no such tensor", False) for name in unexpected),
    ]


def _lost_all(line: Line, parent: ParentTensors, limits: TensorLimits) -> Finding | None:
    """Of tensors that may have been rescaled together: by itself only what is gone says anything."""
    apart = line.difference
    if apart is None or not line.is_all_zero or not apart.parent_squares > 0:
        return None
    return Finding("tensor-zero", line.entry.name, "nothing but zeros, but the parent's is not")


def _far(line: Line, parent: ParentTensors, limits: TensorLimits) -> Finding | None:
    """What is wrong with the values of a tensor, None if it is what its type makes of the parent's."""
    apart, name = line.difference, line.entry.name
    if apart is None or not line.is_finite or (not parent.is_gguf and line.entry.dtype not in FLOATS):
        return None  # a checkpoint's 8-bit values mean something only beside scales that are tensors of their own
    if (gone := _lost_all(line, parent, limits)) is not None:
        return gone
    share_lost = apart.n_lost_rows / max(1, line.found.n_rows)
    repaired = name in EMBEDDINGS and share_lost <= limits.lost_embedding_rows_pass
    if apart.n_strays and (repaired or not share_lost):
        blocks = "a block holds" if apart.n_strays == 1 else f"{apart.n_strays:,} blocks hold"
        what = f"{blocks} what quantising the parent's does not give; all else is as it should be"
        return Finding("values-stray", name, what)
    if share_lost:
        what = f"{apart.n_lost_rows:,} of {line.found.n_rows:,} rows are not the parent's"
        return Finding("rows-lost", name, what, not repaired)
    ratio = apart.ratio
    if ratio is not None and ratio > limits.ratio_fail and parent.is_gguf:
        what = f"{ratio:.1f} times as far from the parent's as {line.entry.dtype} costs"
        return Finding("tensor-too-far", name, what)
    return None


def _not_ours(trial: Trial, found: Survey) -> list[Finding]:
    """Without an importance matrix there is one result of quantising a parent, and we know its bytes."""
    header = trial.look.header
    share = found.together.share_as_ours
    if header is None or share is None or header.get("quantize.imatrix.file") is not None:
        return []
    if trial.reference is not None and trial.reference.is_plain and share < 1:
        return [
            Finding("not-reproduced", "its tensors", f"{1 - share:.2%} of the bytes are not what we make")
        ]
    if share < trial.limits.tensors.as_ours_pass:
        what = f"{share:.1%} of the bytes are those of a plain quantisation of this parent"
        return [
            Finding("not-plain", "its tensors", f"only {what}: it was made of another, or otherwise", False)
        ]
    return []


def _traced(trial: Trial, findings: list[Finding], parent: ParentTensors) -> list[Finding]:
    """The first few that hold other rows, with where those are to be found in the parent."""
    made, left = [], MAX_TRACED
    for finding in findings:
        if finding.code in ("rows-lost", "tensor-too-far") and left and finding.tensor in parent.targets:
            left -= 1
            weights = _readable(trial.look)
            where = trace(weights, weights.entries[finding.tensor], parent)
            exchanged = Finding("rows-exchanged", finding.tensor, where, finding.is_failure)
            made.append(exchanged if where else finding)
        else:
            made.append(finding)
    return made


def _said(findings: Sequence[Finding]) -> str:
    more = f" (and {len(findings) - 1} more findings)" if len(findings) > 2 else ""
    more = " (and one more finding)" if len(findings) == 2 else more
    return f"{findings[0]}{more}"


def _healthy(found: Survey, parent: ParentTensors | None, *, is_packed: bool) -> str:
    unread = f"; not read: {', '.join(found.unread_types[:3])}" if found.unread_types else ""
    text = f"{len(found.lines)} tensors hold finite values{unread}"
    whole = found.together
    if parent is None or not whole.n_values:
        return text
    if is_packed:
        cosines = [line.difference.cosine(line.found.squares) for line in found.lines if line.difference]
        return f"{text}, unpacked at a cosine of {min(cosines):.4f} or more to the parent's"
    ratios = [line.ratio for line in found.lines if line.ratio is not None]
    if not ratios:
        return f"{text}, {whole.share_identical:.1%} of them the parent's to the bit"
    return f"{text}, none farther from the parent's than {max(ratios):.2f} times what its type costs"


def _value(found: Survey, findings: Sequence[Finding], parent: ParentTensors | None) -> dict[str, Any]:
    value: dict[str, Any] = {
        "n_read": len(found.lines),
        "unread_types": found.unread_types[:MAX_NAMED],
        "findings": [finding.as_json() for finding in findings[:MAX_NAMED]],
        "n_findings": len(findings),
        "table": found.table(),
    }
    if parent is not None:
        whole = found.together
        value["parent"] = {
            "share_identical": round(whole.share_identical, 6),
            "share_as_ours": whole.share_as_ours,
            "missing": found.missing[:MAX_NAMED],
            "unexpected": found.unexpected[:MAX_NAMED],
        }
    return value
