"""One artifact, judged against its exact parent: the verdict is written down, and what passed is published.

A verdict is not a crash: a job whose artifact is damaged succeeds, with the verdict as its result, and nothing is
published. It fails only when nothing could be said: an engine is missing or broken, the parent cannot be run, the time
of a slice was not enough. Then the artifact stays as it was, and the job can be repeated.
"""

from typing import Any

from django.conf import settings
from django.db import transaction

from conversion.inference.judge import judge
from conversion.inference.report import Report
from conversion.publish import publish
from conversion.reference import ReferenceUnavailable, build_reference, place_artifact
from conversion.workplace import work_folder
from mirror.blobs.store import StoreError
from mirror.store import blob_store
from registry import work
from registry.models import Artifact, Event, Job, Validation
from registry.work import Again, JobFailed, Lease, submit

AGENT = "holdfast validation"
UNDECIDED = frozenset({"partial", "untested"})
PUBLISHABLE = frozenset({"verified"})
"""The policy of the day: what may be published. `loads` is not enough, since there is always a parent to ask."""

PREPARING_SHARE = 0.3
"""Of the progress bar: files are placed and the parent is converted before anything runs."""


class SliceOver(Exception):
    """This worker must stop."""


def submit_validation(artifact: Artifact, *, created_by: str = "", send_nudge: bool = True) -> Job:
    """The one unfinished job that judges this artifact. Idempotent."""
    return submit(
        "validate", key=f"artifact:{artifact.pk}", label=f"validate {artifact.path}"[:300],
        params={"artifact": artifact.pk}, repo=artifact.source.repo, created_by=created_by,
        send_nudge=send_nudge,
    )  # fmt: skip


def settled_verdict(artifact: Artifact) -> Validation | None:
    """The newest verdict of an artifact that is published or rejected; None while nothing is decided. One query."""
    if artifact.state == Artifact.State.UNVALIDATED:
        return None
    rows = artifact.validations.exclude(verdict__in=UNDECIDED)
    return rows.order_by("-created_at", "-pk").first()


def validate_artifact(lease: Lease) -> dict[str, Any] | Again:
    """The artifact has one more Validation row; it is published if it passed for the first time.

    The job's `artifact` is a primary key. May run twice: a publication is found and left as it is. Raises JobFailed
    when nothing can be said of the artifact.
    """
    rows = Artifact.objects.select_related("blob", "recipe", "source__repo")
    artifact = rows.filter(pk=lease.params["artifact"]).first()
    if artifact is None:
        return {"artifact": None, "reason": "the artifact is gone"}
    try:
        report = _judge(lease, artifact)
    except SliceOver:
        return _come_again(artifact)
    except StoreError as error:
        raise JobFailed(error.code, f"{artifact.path}: {error}", retryable=error.retryable) from error
    except ReferenceUnavailable as error:
        raise JobFailed(
            error.code, f"the parent of {artifact.path} cannot be run: {error.message}"
        ) from error
    lease.progress(artifact.blob.size_bytes, artifact.blob.size_bytes, "recording")
    return _conclude(lease, artifact, report)


def _judge(lease: Lease, artifact: Artifact) -> Report:
    store, progress = blob_store(), _Progress(lease, artifact)
    with work_folder(f"validate-{artifact.pk}") as folder:
        path = place_artifact(store, artifact, folder, progress.add_bytes)
        source_path = artifact.recipe.content.get("source_path", "")
        reference = build_reference(store, artifact.source, folder, progress.add_bytes, source_path)
        return judge(
            path,
            reference,
            sha256=artifact.blob.sha256,
            threads=settings.HOLDFAST_ENGINE_THREADS,
            on_progress=progress.show,
        )


class _Progress:
    """Shares of the whole as bytes of the artifact, which is what a job's progress is counted in."""

    def __init__(self, lease: Lease, artifact: Artifact) -> None:
        self.lease, self.total = lease, artifact.blob.size_bytes
        self.prepared, self.to_prepare = 0, artifact.blob.size_bytes + 2 * artifact.source.size_bytes

    def add_bytes(self, n_bytes: int) -> None:
        self.prepared += n_bytes
        self._tell("preparing", PREPARING_SHARE * min(1.0, self.prepared / max(1, self.to_prepare)))

    def show(self, phase: str, share: float) -> None:
        self._tell(phase, PREPARING_SHARE + (1 - PREPARING_SHARE) * share)

    def _tell(self, phase: str, share: float) -> None:
        self.lease.progress(int(self.total * share), self.total, phase)
        if self.lease.should_stop():
            raise SliceOver


def _come_again(artifact: Artifact) -> Again:
    """The job continues elsewhere if this process was asked to end; a run that outlasts a slice would never end."""
    if work.stopping.is_set():
        return Again(reason="the worker was asked to stop")
    raise JobFailed(
        "validation-too-slow",
        f"{artifact.path} could not be judged within a slice of {settings.HOLDFAST_SLICE_SECONDS:.0f} s. "
        "Raise HOLDFAST_SLICE_SECONDS or HOLDFAST_ENGINE_THREADS, or validate it on a faster worker.",
    )


def _conclude(lease: Lease, artifact: Artifact, report: Report) -> dict[str, Any]:
    passed = report.verdict in PUBLISHABLE
    result: dict[str, Any] = {
        "artifact": artifact.pk, "path": artifact.path, "verdict": report.verdict, "passed": passed,
        "reason": report.reason,
    }  # fmt: skip
    if passed and artifact.state != Artifact.State.PUBLISHED:
        commit, row = publish(
            lease, artifact, report, record=lambda: record_verdict(artifact, report, passed=True)
        )
        published = {"published_in": commit.repo.repo_id, "commit": commit.commit_hash}
        return result | published | {"validation": row.pk}
    with transaction.atomic():
        lease.guard()
        row = record_verdict(artifact, report, passed=passed)
    if report.verdict in UNDECIDED:
        raise JobFailed(_first_code(report), f"{artifact.path} could not be judged: {report.reason}")
    return result | {"validation": row.pk}


def record_verdict(artifact: Artifact, report: Report, *, passed: bool) -> Validation:
    """The verdict is a row and an event, and a failed artifact that nobody has yet is rejected. In a transaction."""
    figures = report.figures
    row = Validation.objects.create(
        artifact=artifact, verdict=report.verdict, passed=passed, reason=report.reason,
        report=report.as_json(), engine=report.engine[:100],
        mean_kld=figures.mean_kld if figures else None,
        top1_agreement=figures.top1_agreement if figures else None,
        perplexity_ratio=figures.ppl_artifact / figures.ppl_parent if figures else None,
    )  # fmt: skip
    if not passed and report.verdict not in UNDECIDED and artifact.state == Artifact.State.UNVALIDATED:
        artifact.state = Artifact.State.REJECTED
        artifact.save(update_fields=["state"])
    outcome = Event.Outcome.SUCCESS if passed else Event.Outcome.FAILURE
    if report.verdict in UNDECIDED:
        outcome = Event.Outcome.WARNING
    Event.objects.create(
        type=Event.Type.VALIDATION, outcome=outcome, agent=f"{AGENT}, {report.engine}"[:200],
        repo=artifact.source.repo, commit=artifact.source, blob=artifact.blob, artifact=artifact,
        summary=f"{artifact.path}: {report.verdict}: {report.reason}"[:500],
        detail={"validation": row.pk, "verdict": report.verdict, "limits": report.limits_version},
    )  # fmt: skip
    return row


def _first_code(report: Report) -> str:
    codes = [check.code for check in report.checks.values() if check.verdict == "error" and check.code]
    return codes[0] if codes else "not-judged"
