"""A report becomes a row and an event, and its canonical bytes a blob."""

import json
from dataclasses import dataclass
from typing import Any

from conversion.cases import Case
from conversion.inference.report import Report, canonical_json
from conversion.kept import blob_row, put_bytes
from mirror.blobs import BlobStore
from registry.models import Artifact, Event, Validation
from registry.models.validation import UNDECIDED

AGENT = "holdfast validation"


@dataclass(frozen=True)
class KeptReport:
    """A report whose bytes are in the store; `content` is what they say."""

    store: BlobStore
    content: dict[str, Any]
    sha256: str
    size_bytes: int


def keep_report(store: BlobStore, report: Report) -> KeptReport:
    """The canonical bytes are in the store, before any row names them. Idempotent."""
    data = canonical_json(report.as_json())
    return KeptReport(store, json.loads(data), *put_bytes(store, data))


def record_verdict(case: Case, report: Report, kept: KeptReport, *, passed: bool) -> Validation:
    """The verdict is a row and an event, and a failed artifact that nobody has yet is rejected. In a transaction."""
    figures, artifact = report.figures, case.artifact
    row = Validation.objects.create(
        blob=case.blob, path=case.path, parent=case.parent, artifact=artifact, verdict=report.verdict, passed=passed,
        reason=report.reason, report=kept.content, report_blob=blob_row(kept.store, kept.sha256, kept.size_bytes),
        engine=report.engine[:100], limits_version=report.limits_version,
        mean_kld=figures.mean_kld if figures else None,
        top1_agreement=figures.top1_agreement if figures else None,
        perplexity_ratio=figures.ppl_artifact / figures.ppl_parent if figures else None,
    )  # fmt: skip
    is_decided = report.verdict not in UNDECIDED
    if artifact and is_decided and not passed and artifact.state == Artifact.State.UNVALIDATED:
        artifact.state = Artifact.State.REJECTED
        artifact.save(update_fields=["state"])
    _note(case, report, row)
    return row


def _note(case: Case, report: Report, row: Validation) -> None:
    outcome = Event.Outcome.SUCCESS if row.passed else Event.Outcome.FAILURE
    if not row.is_decided:
        outcome = Event.Outcome.WARNING
    Event.objects.create(
        type=Event.Type.VALIDATION, outcome=outcome, agent=f"{AGENT}, {report.engine}"[:200],
        repo=case.home.repo, commit=case.home, blob=case.blob, artifact=case.artifact,
        summary=f"{case.path}: {report.verdict}: {report.reason}"[:500],
        detail={"validation": row.pk, "verdict": report.verdict, "limits": report.limits_version,
                "report_sha256": row.report_sha256},
    )  # fmt: skip
