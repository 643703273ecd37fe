"""Bytes, judged against their exact parent: the verdict is written down, and what the gate lets through is published.

A verdict is not a crash: a job whose artifact is damaged succeeds, with the verdict as its result, and nothing is
published. It fails only when nothing could be said: an engine is missing or broken, the parent cannot be run, the time
of a slice was not enough. Then the artifact stays as it was, and the job can be repeated.

The parent runs at most once for each engine build: what it says is kept as a reading. Our own requantisation of it to
the same type is the yardstick, measured once as well. Everything here may run twice, and in two workers at once.
"""

from typing import Any

from django.conf import settings
from django.db import transaction

from conversion.cases import Case, CaseRefused, find_case
from conversion.inference.judge import judge
from conversion.inference.report import Report
from conversion.preparing import Preparation, most_seconds
from conversion.publish import publish
from conversion.reference import ReferenceUnavailable
from conversion.verdicts import keep_report, record_verdict
from conversion.workplace import work_folder
from mirror.blobs.store import StoreError
from mirror.store import blob_store
from registry import work
from registry.gates import override_of, read_gates
from registry.models import Artifact
from registry.models.validation import UNDECIDED
from registry.work import Again, JobFailed, Lease

PREPARING_SHARE = 0.3
"""Of the progress bar: files are placed and the parent is read before anything is compared."""


class SliceOver(Exception):
    """This worker must stop."""


def validate(lease: Lease) -> dict[str, Any] | Again:
    """The bytes have one more Validation row; an artifact is published if its gate let it through for the first time.

    The job names an `artifact`, or `commit`, `path` and `parent`. May run twice: a publication is found and left as it
    is. Raises JobFailed when nothing can be said.
    """
    try:
        case = find_case(lease.params)
    except CaseRefused as error:
        raise JobFailed(error.code, error.message) from error
    if case is None:
        what = "artifact" if "artifact" in lease.params else "file"
        return {"artifact": lease.params.get("artifact"), "reason": f"the {what} is gone"}
    try:
        report = _judge(lease, case)
        lease.progress(case.size_bytes, case.size_bytes, "recording")
        return _conclude(lease, case, report)
    except SliceOver:
        return _come_again(case)
    except StoreError as error:
        raise JobFailed(error.code, f"{case.name}: {error}", retryable=error.retryable) from error
    except ReferenceUnavailable as error:
        raise JobFailed(error.code, f"the parent of {case.name} cannot be run: {error.message}") from error


def _judge(lease: Lease, case: Case) -> Report:
    store, progress = blob_store(), _Progress(lease, case)
    with work_folder(f"validate-{lease.job.pk}") as folder:
        path = case.place(store, folder, progress.add_bytes)
        preparation = Preparation(lease, case, store, folder, progress.add_bytes, progress.show_parent)
        report = judge(
            path,
            preparation.reference(path),
            sha256=case.digests,
            threads=settings.HOLDFAST_ENGINE_THREADS,
            memory_bytes=settings.HOLDFAST_ENGINE_MEMORY_BYTES,
            max_seconds=most_seconds(),
            on_progress=progress.show,
        )
        preparation.keep_own_figures(report)
        return report


class _Progress:
    """Shares of the whole as bytes of what is judged, which is what a job's progress is counted in."""

    def __init__(self, lease: Lease, case: Case) -> None:
        self.lease, self.total = lease, case.size_bytes
        self.prepared, self.shown = 0, 0.0
        self.to_prepare = case.size_bytes + 2 * (case.parent.size_bytes if case.parent else 0)

    def add_bytes(self, n_bytes: int) -> None:
        self.prepared += n_bytes
        self._tell("preparing", 0.5 * PREPARING_SHARE * min(1.0, self.prepared / max(1, self.to_prepare)))

    def show_parent(self, phase: str, share: float) -> None:
        """While the parent is read, or our own requantisation of it judged."""
        self._tell("reading the parent", PREPARING_SHARE * (0.5 + 0.5 * share))

    def show(self, phase: str, share: float) -> None:
        self._tell(phase, PREPARING_SHARE + (1 - PREPARING_SHARE) * share)

    def _tell(self, phase: str, share: float) -> None:
        self.shown = max(self.shown, share)
        self.lease.progress(int(self.total * self.shown), self.total, phase)
        if self.lease.should_stop():
            raise SliceOver


def _come_again(case: Case) -> Again:
    """The job continues elsewhere if this process was asked to end; a run that outlasts a slice would never end."""
    if work.stopping.is_set():
        return Again(reason="the worker was asked to stop")
    raise JobFailed(
        "validation-too-slow",
        f"{case.name} could not be judged within a slice of {settings.HOLDFAST_SLICE_SECONDS:.0f} s. "
        "Raise HOLDFAST_SLICE_SECONDS or HOLDFAST_ENGINE_THREADS, or validate it on a faster worker.",
    )


def _conclude(lease: Lease, case: Case, report: Report) -> dict[str, Any]:
    kept = keep_report(blob_store(), report)
    passed = _passes(case, report)
    result: dict[str, Any] = {
        "artifact": case.artifact.pk if case.artifact else None, "path": case.path, "sha256": case.blob.sha256,
        "verdict": report.verdict, "passed": passed, "reason": report.reason, "report_sha256": kept.sha256,
    }  # fmt: skip
    artifact = case.artifact
    if artifact and passed and artifact.state != Artifact.State.PUBLISHED:
        commit, row = publish(
            lease, artifact, report, record=lambda: record_verdict(case, report, kept, passed=True)
        )
        published = {"published_in": commit.repo.repo_id, "commit": commit.commit_hash}
        return result | published | {"validation": row.pk}
    with transaction.atomic():
        lease.guard()
        row = record_verdict(case, report, kept, passed=passed)
    if report.verdict in UNDECIDED and not passed:
        raise JobFailed(_first_code(report), f"{case.name} could not be judged: {report.reason}")
    return result | {"validation": row.pk}


def _passes(case: Case, report: Report) -> bool:
    """Whether the gate of the repo that holds it lets through what was found, or what an operator decided."""
    gate, override = read_gates().of(case.holder), override_of(case.blob)
    verdict = override.verdict if override else report.verdict
    return verdict in (gate.publishes if case.artifact else gate.pulls)


def _first_code(report: Report) -> str:
    codes = [check.code for check in report.checks.values() if check.verdict == "error" and check.code]
    return codes[0] if codes else "not-judged"
