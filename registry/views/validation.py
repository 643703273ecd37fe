"""Reports of test inference: what was measured on each artifact, against which limits, and with what."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from registry.models import Validation
from registry.views.frame import open_repo
from registry.views.variants import judged

# The checks in the order in which they run; conversion/inference/report.py lists the same names.
CHECK_WORDS = {
    "integrity": "Integrity", "container": "Container", "tensors": "Tensors", "load": "Load",
    "tokenizer": "Tokenizer", "forward": "Forward", "fidelity": "Fidelity", "greedy": "Greedy text", "cost": "Cost",
}  # fmt: skip

LIMIT_WORDS = {
    "kld_pass": "mean KL divergence", "top1_pass": "same top token from", "ln_ppl_pass": "ln perplexity ratio",
}  # fmt: skip

VERDICT_WORDS = {
    "verified": "says what its parent says, within the limits of its class",
    "loads": "runs and is sane, but there was no parent to compare with",
    "partial": "the tensors are sound; this machine could not run it",
    "damaged": "a check failed",
    "unsupported": "the engine does not know this architecture",
    "untested": "nothing is known yet",
}


@dataclass(frozen=True)
class Sample:
    """What both say after one prompt; `same` and `differs` part the artifact's text where they begin to differ."""

    prompt: str
    parent: str
    same: str
    differs: str
    n_equal_tokens: int | None


def validations(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Every artifact made of this repo or published in it, with its newest verdict."""
    frame = open_repo(request, namespace, name)
    rows = [
        (artifact, next(iter(artifact.validations.all()), None))
        for artifact in judged(Q(source__repo=frame.repo) | Q(published_in__repo=frame.repo))
    ]
    return render(
        request, "catalog/validations.html", frame.context("validation", rows=rows, words=VERDICT_WORDS)
    )


def report(request: HttpRequest, namespace: str, name: str, artifact_id: int) -> HttpResponse:
    """One run of test inference in full: the newest, or the one that `?run=` names."""
    frame = open_repo(request, namespace, name)
    of_repo = Q(source__repo=frame.repo) | Q(published_in__repo=frame.repo)
    artifact = next(iter(judged(of_repo & Q(pk=artifact_id))), None)
    if artifact is None:
        raise Http404(f"{frame.repo.repo_id} has no artifact {artifact_id}.")
    runs = list(artifact.validations.all())
    shown = _chosen(runs, request.GET.get("run", ""))
    found = shown.report if shown else {}
    return render(request, "catalog/report.html", frame.context(
        "validation", artifact=artifact, runs=runs, shown=shown, words=VERDICT_WORDS,
        checks=checks_of(found), figures=figures_of(found), samples=samples_of(found),
        facts=measured_with(found), sandbox=sandbox_of(found),
        seconds=found.get("seconds"),
    ))  # fmt: skip


def _chosen(runs: list[Validation], wanted: str) -> Validation | None:
    return next((run for run in runs if str(run.pk) == wanted), runs[0] if runs else None)


def checks_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Each check in words. Skipped ones stay: what was not asked is a finding too."""
    return [
        {
            "words": CHECK_WORDS.get(check.get("id", ""), check.get("id", "")),
            "limit": _limit(check),
        }
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
    if parent == artifact:
        return artifact, ""
    pairs = zip(parent, artifact, strict=False)
    place = next((i for i, (one, two) in enumerate(pairs) if one != two), min(len(parent), len(artifact)))
    start = artifact.rfind(" ", 0, place) + 1
    return artifact[:start], artifact[start:]


def measured_with(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Engines, reference, texts and limits, as pairs of short texts."""
    engines = {role: _engine(engine) for role, engine in (report.get("engines") or {}).items()}
    pairs = [("Engine", engines.pop("artifact", ""))]
    pairs += [(str(role).capitalize(), words) for role, words in engines.items() if words != pairs[0][1]]
    limits, parent = report.get("limits") or {}, report.get("parent") or {}
    pairs.append(("Reference", str(parent.get("reference", ""))))
    pairs.append(("Texts", ", ".join(report.get("texts") or {})))
    if limits.get("class"):
        pairs.append(("Limits", f"version {limits.get('version')}, {limits['class']} class"))
    return [(name, words) for name, words in pairs if words]


def sandbox_of(report: dict[str, Any]) -> list[tuple[str, str]]:
    """How the engine was shut in while it ran."""
    return [(str(name).capitalize(), str(words)) for name, words in (report.get("isolation") or {}).items()]


def _engine(engine: Any) -> str:
    if not isinstance(engine, dict):
        return str(engine)
    return " ".join(str(engine[name]) for name in ("name", "version") if engine.get(name))
