"""Reports of test inference: what was measured on each file, against which limits, and what changed since."""

from dataclasses import dataclass

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from registry.access import may_operate
from registry.comparing import Comparison, compare_reports
from registry.gates import Standing, override_of, read_gates
from registry.models import Artifact, Blob, Commit, File, Validation
from registry.variants import type_in
from registry.verdicts import history_of, verdict_rows
from registry.views.frame import Frame, open_repo
from registry.views.report_words import (
    checks_of,
    figures_of,
    measured_with,
    relative_of,
    samples_of,
    sandbox_of,
    texts_of,
)

VERDICT_WORDS = {
    "verified": "says what its parent says, within the limits of its class",
    "loads": "runs and is sane, but there was no parent to compare with",
    "partial": "the tensors are sound; this machine could not run it",
    "damaged": "a check failed",
    "unsupported": "the engine does not know this architecture",
    "untested": "nothing is known yet",
}


@dataclass(frozen=True)
class Judged:
    """The bytes that a report is about, as this repo knows them."""

    blob: Blob
    path: str
    name: str
    parent: Commit | None
    artifact: Artifact | None = None

    @property
    def can_speak(self) -> bool:
        """Whether the playground can let it say something."""
        return self.path.endswith(".gguf") and self.blob.state == Blob.State.PRESENT

    def holder(self, frame: Frame) -> str:
        """The repo whose gate decides: the one that the file was published in, if it was made here."""
        home = self.artifact.published_in if self.artifact else None
        return home.repo.repo_id if home else frame.repo.repo_id


def validations(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Every file made of this repo, published in it or judged against it, best first."""
    frame = open_repo(request, namespace, name)
    rows = verdict_rows(frame.repo, frame.commit, request.user)
    context = frame.context("validation", rows=rows, words=VERDICT_WORDS, operates=may_operate(request.user))
    return render(request, "catalog/validations.html", context)


def artifact_report(request: HttpRequest, namespace: str, name: str, artifact_id: int) -> HttpResponse:
    """An artifact's number leads to the report on its bytes."""
    frame = open_repo(request, namespace, name)
    of_repo = Q(source__repo=frame.repo) | Q(published_in__repo=frame.repo)
    rows = (
        Artifact.objects.filter(of_repo, pk=artifact_id) if artifact_id < 2**63 else Artifact.objects.none()
    )
    artifact = rows.select_related("blob").first()
    if artifact is None:
        raise Http404(f"{frame.repo.repo_id} has no artifact {artifact_id}.")
    return redirect(f"{frame.base}/validation/{artifact.blob.sha256}")


def report(request: HttpRequest, namespace: str, name: str, sha256: str) -> HttpResponse:
    """One run of test inference in full: the one that stands, or the one that `?run=` names. At most ten queries."""
    frame = open_repo(request, namespace, name)
    judged = find_judged(frame, sha256)
    runs = history_of(judged.blob, request.user)
    shown = _chosen(runs, request.GET.get("run", ""))
    found = shown.report if shown else {}
    standing = Standing(_standing_run(runs), override_of(judged.blob))
    gate = read_gates().of(judged.holder(frame))
    return render(request, "catalog/report.html", frame.context(
        "validation", judged=judged, artifact=judged.artifact, runs=runs, shown=shown, words=VERDICT_WORDS,
        parent=(shown.parent if shown else None) or judged.parent, override=standing.override,
        is_pulled=standing.verdict in gate.pulls, operates=may_operate(request.user),
        since=_since(runs, shown), checks=checks_of(found), figures=figures_of(found), texts=texts_of(found),
        relative=relative_of(found), samples=samples_of(found), facts=measured_with(found),
        sandbox=sandbox_of(found), seconds=found.get("seconds"),
    ))  # fmt: skip


def find_judged(frame: Frame, sha256: str) -> Judged:
    """The bytes with that digest, if this repo made, published or holds them. At most two queries. Raises Http404."""
    artifact = _artifact(frame, sha256)
    if artifact is not None:
        return Judged(artifact.blob, artifact.path, artifact.recipe.name, artifact.source, artifact)
    files = File.objects.filter(commit__repo=frame.repo, blob__sha256=sha256).select_related("blob")
    file = files.order_by("-commit__pk", "path").first()
    if file is None:
        raise Http404(f"{frame.repo.repo_id} has no file with the sha256 {sha256[:12]}….")
    return Judged(file.held, file.path, type_in(file.path.rpartition(".")[0]), None)


def _artifact(frame: Frame, sha256: str) -> Artifact | None:
    rows = Artifact.objects.filter(blob__sha256=sha256).select_related(
        "recipe", "blob", "source__repo", "published_in__repo"
    )
    here = (row for row in rows.order_by("pk") if frame.repo.pk in _repos_of(row))
    return next(here, None)


def _repos_of(artifact: Artifact) -> set[int]:
    home = artifact.published_in
    return {artifact.source.repo_id} | ({home.repo_id} if home else set())


def _standing_run(runs: list[Validation]) -> Validation | None:
    """The newest run that decided something, else the newest."""
    decided = (run for run in runs if run.is_decided)
    return next(decided, runs[0] if runs else None)


def _chosen(runs: list[Validation], wanted: str) -> Validation | None:
    return next((run for run in runs if str(run.pk) == wanted), _standing_run(runs))


def _since(runs: list[Validation], shown: Validation | None) -> Comparison | None:
    """What changed from the run before the one that is shown; None for the first."""
    older = runs[runs.index(shown) + 1 :] if shown in runs else []
    return compare_reports(older[0].report, shown.report) if shown and older else None
