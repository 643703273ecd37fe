"""Each variant is planted, judged and held against what must be said of it."""

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from conversion.inference.engine import EngineError
from conversion.inference.fidelity import log_softmax
from conversion.inference.judge import Reference, judge
from conversion.inference.report import Report
from conversion.inference.sandbox import Sandbox
from conversion.inference.windows import read_texts
from tests.conversion.inference.ggufs import BASE, convert
from tests.conversion.inference.planted.family import Family
from tests.conversion.inference.planted.variants import Variant

RIGHT_KLD = 1e-5
"""The mean KL divergence from the undamaged file up to which logits are right: what a lossless file may have."""


@dataclass(frozen=True)
class Result:
    """What was said of one artifact; `wrong` says what is the matter with that, if anything."""

    group: str
    name: str
    what: str
    verdict: str
    code: str
    reason: str
    seconds: float
    wrong: str = ""

    @property
    def line(self) -> str:
        what = f"{self.group:<20} {self.name:<30} {self.what:<42}"
        told = f"{what} {self.verdict:<11} {self.code:<24} {self.seconds:5.2f} {self.reason[:110]}"
        return told + (f"  <-- WRONG: {self.wrong}" if self.wrong else "")


def judge_variant(family: Family, variant: Variant, folder: Path) -> Result:
    """Planted in `folder`, which is empty before and after."""
    folder.mkdir(parents=True)
    try:
        path = variant.plant(family, folder)
        started = time.perf_counter()
        report = judge(path, _reference(family, variant), sha256=_digests(family, variant))
        seconds = time.perf_counter() - started
        wrong = _fault(family, variant, path, report)
    finally:
        shutil.rmtree(folder)
    return Result(variant.group, variant.name, variant.what, report.verdict, code_of(report), report.reason,
                  seconds, wrong)  # fmt: skip


def _reference(family: Family, variant: Variant) -> Reference | None:
    if variant.alone:
        return None
    if variant.is_checkpoint:
        return family.base_as_stored
    yardstick = family.yardstick(variant.original) if variant.yardstick else None
    return replace(family.base, yardstick=yardstick)


def _digests(family: Family, variant: Variant) -> str | Mapping[str, str] | None:
    import hashlib

    if not variant.digest:
        return None
    sound = BASE / "model.safetensors" if variant.is_checkpoint else family.gguf(variant.original)
    digest = hashlib.sha256(sound.read_bytes()).hexdigest()
    return {"model.safetensors": digest} if variant.is_checkpoint else digest


def _fault(family: Family, variant: Variant, path: Path, report: Report) -> str:
    """What is wrong with the verdict; nothing if it is right and its reason can be read by a person."""
    if report.verdict not in variant.expected:
        return f"expected {' or '.join(sorted(variant.expected))}"
    if len(report.reason) < 10 or not report.reason.isprintable():
        return f"the reason says nothing: {report.reason!r}"
    if variant.no_engine_sees_it and report.checks["load"].verdict != "skipped":
        return "an engine has seen it"
    if report.verdict == "damaged" and not code_of(report):
        return "the failure has no code"
    if report.verdict == "verified" and not _is_right(family, variant, path):
        return "its logits are not those of the undamaged file"
    return ""


def _is_right(family: Family, variant: Variant, path: Path) -> bool:
    """A checkpoint is asked as the F32 GGUF that it makes."""
    if not variant.is_checkpoint:
        return is_right_for_its_type(family, variant.original, path)
    return is_right(family.gguf("F32"), convert(path, "F32", path / "converted.gguf"))


def code_of(report: Report) -> str:
    return next((check.code for check in report.checks.values() if check.verdict in ("fail", "error")), "")


def is_right_for_its_type(family: Family, type_name: str, damaged: Path) -> bool:
    """Right, or nearer to the sound file than a hundredth of what its type costs anyway: one last bit of four."""
    sound = family.gguf(type_name)
    if is_right(sound, damaged):
        return True
    cost = family.yardstick(type_name).figures
    return cost is not None and is_right(sound, damaged, cost.mean_kld / 100)


def is_right(sound: Path, damaged: Path, allowed: float = RIGHT_KLD) -> bool:
    """Whether both give the same next tokens with the same probabilities, but for what no one could see."""
    rng = np.random.default_rng(0)
    try:
        with Sandbox("llama.cpp", sound) as one, Sandbox("llama.cpp", damaged) as other:
            if one.facts.n_vocab != other.facts.n_vocab:
                return False
            windows = [rng.integers(3, one.facts.n_vocab, 250).tolist(), *_texts(one)]
            klds = [_kld(one, other, ids) for ids in windows]
    except EngineError:
        return False
    return bool(np.mean(klds) <= allowed)


def _texts(model: Sandbox) -> list[list[int]]:
    """The beginning of each evaluation text."""
    return [model.tokenize(text[:1500], special=True)[:250] for text in read_texts().values()]


def _kld(one: Sandbox, other: Sandbox, ids: list[int]) -> float:
    """Mean divergence over a window."""
    ours, theirs = (log_softmax(np.concatenate(list(model.logits(ids)))) for model in (other, one))
    return float((np.exp(theirs) * (theirs - ours)).sum(axis=1).mean())


def judge_healthy(family: Family) -> Iterator[Result]:
    """Every sound file, each against its own parent: all must be verified, but what cannot be a good quant."""
    for name in HEALTHY:
        yield _healthy("sample family", name, family.gguf(name), family.base)
    for sample in ("ft-gentle-bf16",):
        yield _healthy("fine-tune", "Q8_0", family.gguf("Q8_0", sample), family.reference(sample))
    yield from _stories(family)


HEALTHY = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_NL", "Q3_K_M",
           "Q3_K_S", "Q2_K")  # fmt: skip
"""The types of the sample family's table, without the ternary one, which must fail."""


def _stories(family: Family) -> Iterator[Result]:
    parent = family.stories("F32")
    reference = Reference("llama.cpp", parent, frozenset({"F32"}), {}, family.folder / "tokenizer.model")
    for name in ("F32", "F16", "BF16"):
        yield _healthy("stories260K", name, family.stories(name), reference)


def _healthy(group: str, name: str, path: Path, reference: Reference) -> Result:
    report = judge(path, reference)
    wrong = "" if report.verdict == "verified" else "expected verified"
    return Result(group, name, "as it was made", report.verdict, code_of(report), report.reason, report.seconds,
                  wrong)  # fmt: skip
