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
        checks=checks_of(found), figures=figures_of(found), samples=samples_of(found), facts=measured_with(found),
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
        return ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in limit.items() if value is not None
        )
    return "" if limit is None else str(limit)


def figures_of(report: dict[str, Any]) -> dict[str, Any]:
    return report.get("figures") or {}


def samples_of(report: dict[str, Any]) -> list[Sample]:
    """Prompts with both continuations, parted after the longest common beginning in whole words."""
    return [
        Sample(one.get("prompt", ""), one.get("parent", ""), *_parted(one.get("parent", ""), one.get("artifact", "")),
               one.get("n_equal_tokens"))
        for one in report.get("samples") or []
    ]  # fmt: skip


def _parted(parent: str, artifact: str) -> tuple[str, str]:
    if parent == artifact:
        return artifact, ""
    place = next((i for i, (a, b) in enumerate(zip(parent, artifact, strict=False)) if a != b), None)
    place = min(len(parent), len(artifact)) if place is None else place
    start = artifact.rfind(" ", 0, place) + 1
    return artifact[:start], artifact[start:]


def measured_with(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Engines, isolation, texts and limits, as pairs of short texts."""
    pairs = []
    for role, engine in (report.get("engines") or {}).items():
        pairs.append(("Engine" if role == "artifact" else f"Engine, {role}", _engine(engine)))
    limits = report.get("limits") or {}
    if limits.get("class"):
        pairs.append(("Limits", f"version {limits.get('version')}, {limits['class']} class"))
    pairs += [
        (str(name).replace("_", " ").capitalize(), str(value))
        for name, value in (report.get("isolation") or {}).items()
    ]
    return pairs


def _engine(engine: Any) -> str:
    if not isinstance(engine, dict):
        return str(engine)
    return " ".join(str(engine[name]) for name in ("name", "version", "build") if engine.get(name))
