"""Asking for bytes that were let go: whoever wants to serve them queues the job that makes them again."""

from registry.models import Artifact, Blob, Job
from registry.work import submit


def request_rebuild(blob: Blob) -> Job | None:
    """The one unfinished job that makes an evicted blob again; None if no artifact has these bytes. Idempotent."""
    artifact = Artifact.objects.filter(blob=blob).select_related("source__repo").order_by("pk").first()
    if artifact is None:
        return None
    source = artifact.source
    return submit(
        "rebuild", key=str(artifact.pk), repo=source.repo,
        label=f"rebuild {artifact.path} of {source.repo.repo_id}@{source.commit_hash[:8]}"[:300],
        params={"artifact": artifact.pk, "repo_id": source.repo.repo_id, "commit_hash": source.commit_hash},
    )  # fmt: skip
