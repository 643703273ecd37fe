"""The audit: blobs, manifests, leftovers, in this order; what it found is one Event, and rows say what is broken."""

from datetime import datetime

from mirror.blobs.store import BlobStore
from mirror.fixity.blobs import AGENT, check_blobs
from mirror.fixity.manifests import check_manifests
from mirror.fixity.repair import repair_blob, repair_manifest
from mirror.fixity.report import OnProgress, Report
from registry.models import Event


def audit(
    store: BlobStore, *, quick: bool = False, repair: bool = False, unverified_since: datetime | None = None,
    on_progress: OnProgress = lambda phase, done, total: None,
) -> Report:  # fmt: skip
    """Catalog and store have been compared both ways, and (unless `quick`) every byte was read and hashed.

    Blob.verified_at and Blob.state say what is known of each blob; an Event of type "fixity check" sums it up. Deletes
    nothing. `repair` makes whole what upstream still has. Safe beside running jobs, and to run twice at once. Raises
    StoreError when the store is out of reach; what was found until then stays recorded.
    """
    report = Report()
    faults = check_blobs(
        store, report, quick=quick, unverified_since=unverified_since, on_progress=on_progress
    )
    for finding, blob in faults:
        if repair:
            report.replace(finding, repair_blob(store, blob, finding))
    for finding, commit in check_manifests(store, report, quick=quick, on_progress=on_progress):
        if repair:
            report.replace(finding, repair_manifest(store, commit, finding))
    for stat in store.staged_names():
        report.add(
            "staged-leftover",
            stat.key,
            f"{stat.size_bytes} bytes, touched {stat.modified_at:%Y-%m-%d %H:%M} UTC.",
        )
    _record(report, quick)
    return report


def _record(report: Report, quick: bool) -> None:
    how = "compared" if quick else "re-hashed"
    found = "everything as it was" if report.is_clean else f"{len(report.errors)} found broken"
    Event.objects.create(
        type=Event.Type.FIXITY, agent=AGENT,
        outcome=Event.Outcome.SUCCESS if report.is_clean else Event.Outcome.FAILURE,
        summary=f"{how} {report.n_blobs} blobs and {report.n_commits} commits: {found}",
        detail={
            "n_blobs": report.n_blobs, "n_hashed": report.n_hashed, "bytes_hashed": report.bytes_hashed,
            "n_commits": report.n_commits, "n_errors": len(report.errors), "quick": quick,
        },
    )  # fmt: skip
