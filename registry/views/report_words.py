"""A report of test inference in words. Reads the JSON of any schema: what a report does not say is not shown."""

from dataclasses import dataclass
from typing import Any

# The checks in the order in which they run; conversion/inference/report.py lists the same names.
CHECK_WORDS = {
    "integrity": "Integrity", "completeness": "Completeness", "tensors": "Tensors", "tokenizer": "Tokenizer",
    "load": "Load", "forward": "Forward", "fidelity": "Fidelity", "cost": "Cost",
}  # fmt: skip

LIMIT_WORDS = {
    "kld_pass": "mean KL divergence", "top1_pass": "same top token from", "ln_ppl_pass": "ln perplexity ratio",
    "relative": "times our own requantisation",
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """What both say after one prompt; `same` and `differs` part the artifact's text where they begin to differ."""

    prompt: str
    parent: str
    same: str
    differs: str
    n_equal_tokens: int | None


@dataclass(frozen=True)
class Relative:
    """How far the file is beside our own plain requantisation of the same parent to the same type."""

    file_type: str
    converter: str
    is_itself: bool
    mean_kld: float | None = None
    times: float | None = None


def checks_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Each check in words. Skipped ones stay: what was not asked is a finding too."""
    return [
        {"words": CHECK_WORDS.get(check.get("id", ""), check.get("id", "")), "limit": _limit(check)}
        | {name: check.get(name, "") for name in ("id", "verdict", "summary", "seconds", "code")}
        for check in report.get("checks") or []
    ]


def _limit(check: dict[str, Any]) -> str:
    """What the value was held against, unless the summary says it already."""
    limit = check.get("limit")
    if "limit" in str(check.get("summary", "")):
        return ""
    if isinstance(limit, dict):
        return ", ".join(f"{words} {limit[name]:g}" for name, words in LIMIT_WORDS.items() if limit.get(name))
    return "" if limit is None else str(limit)


def figures_of(report: dict[str, Any]) -> dict[str, Any]:
    return report.get("figures") or {}


def texts_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Name and figures of each evaluation text, if the report tells them apart."""
    found = report.get("by_text") or {}
    return [{"name": name} | figures for name, figures in sorted(found.items()) if isinstance(figures, dict)]


def relative_of(report: dict[str, Any]) -> Relative | None:
    """The yardstick that the file was held against; None where there was none."""
    yardstick = report.get("yardstick")
    if not isinstance(yardstick, dict):
        return None
    ours, theirs = yardstick.get("figures"), figures_of(report).get("mean_kld")
    kind, converter = str(yardstick.get("file_type", "")), str(yardstick.get("converter", ""))
    if not isinstance(ours, dict):
        return Relative(kind, converter, is_itself=True)
    distance = ours.get("mean_kld")
    times = theirs / distance if theirs is not None and distance else None
    return Relative(kind, converter, is_itself=False, mean_kld=distance, times=times)


def samples_of(report: dict[str, Any]) -> list[Sample]:
    """Prompts with both continuations, the artifact's parted at the word where it begins to differ."""
    return [_sample(one) for one in report.get("samples") or []]


def _sample(one: dict[str, Any]) -> Sample:
    prompt = str(one.get("prompt", ""))
    parent, artifact = (
        str(one.get(name, "")).removeprefix(prompt).lstrip() for name in ("parent", "artifact")
    )
    return Sample(prompt, parent, *_parted(parent, artifact), one.get("n_equal_tokens"))


def _parted(parent: str, artifact: str) -> tuple[str, str]:
    if parent == artifact or not parent:
        return artifact, ""
    pairs = zip(parent, artifact, strict=False)
    place = next((i for i, (one, two) in enumerate(pairs) if one != two), min(len(parent), len(artifact)))
    start = artifact.rfind(" ", 0, place) + 1
    return artifact[:start], artifact[start:]


def measured_with(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Subject, engines, reference, texts and limits, as pairs of short texts."""
    engines = {role: _engine(engine) for role, engine in (report.get("engines") or {}).items()}
    limits, parent = report.get("limits") or {}, report.get("parent") or {}
    pairs = [("Subject", _subject(report)), ("Engine", engines.pop("artifact", ""))]
    pairs += [(str(role).capitalize(), words) for role, words in engines.items() if words != pairs[1][1]]
    pairs += [
        ("Library", _library(report)), ("Reference", str(parent.get("reference", ""))),
        ("Reading", str(parent.get("reading") or "")[:12]), ("Divergence", str(report.get("divergence") or "")),
        ("Level", str(report.get("level") or "")), ("Texts", ", ".join(report.get("texts") or {})),
    ]  # fmt: skip
    if limits.get("class"):
        pairs.append(("Limits", f"version {limits.get('version')}, {limits['class']} class"))
    return [(name, words) for name, words in pairs if words]


def _subject(report: dict[str, Any]) -> str:
    subject = report.get("subject")
    if not isinstance(subject, dict):
        return ""
    return ", ".join(
        str(subject[name]) for name in ("kind", "container", "architecture") if subject.get(name)
    )


def _library(report: dict[str, Any]) -> str:
    engine = (report.get("engines") or {}).get("artifact")
    digest = engine.get("library_sha256") if isinstance(engine, dict) else None
    return f"sha256 {str(digest)[:12]}…" if digest else ""


def sandbox_of(report: dict[str, Any]) -> list[tuple[str, str]]:
    """How the engine was shut in while it ran."""
    return [(str(name).capitalize(), str(words)) for name, words in (report.get("isolation") or {}).items()]


def _engine(engine: Any) -> str:
    if not isinstance(engine, dict):
        return str(engine)
    return " ".join(str(engine[name]) for name in ("name", "version") if engine.get(name))
