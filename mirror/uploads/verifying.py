"""Hashing what was sent in parts, or past us into the store: a job, and those who wait for its end."""

import time
from collections.abc import Collection
from typing import Any

from mirror.blobs.store import DigestMismatch, StagedPart, StoreError
from mirror.store import blob_store
from mirror.uploads.objects import keep, stage_name
from registry.models import Job, Repo, Upload
from registry.work import Again, JobFailed, Lease, run_job, submit

AT_ONCE_BYTES = 1 << 30
"""An object up to this size is hashed by the request that asks for it; a larger one by a worker, if there is one."""
CLAIM_SECONDS = 5.0
PATIENCE_SECONDS = 50.0
"""How long a request waits: less than what front servers allow. Clients of the hub ask again after a 503."""
POLL_SECONDS = 0.1


class StillVerifying(Exception):
    """The object is being hashed. Ask again."""

    code = "still-verifying"

    def __init__(self, sha256: str, job: Job) -> None:
        super().__init__(
            f"the LFS object {sha256} is still being verified (job {job.pk}, {job.share_done or 0:.0%}). "
            "Ask again in a while."
        )
        self.sha256, self.job = sha256, job


class ObjectRefused(Exception):
    """What was sent is not what was announced; it was thrown away."""

    code = "object-refused"

    def __init__(self, sha256: str, why: str) -> None:
        super().__init__(f"the LFS object {sha256} was refused: {why}")
        self.sha256 = sha256


def request_verification(upload: Upload) -> Job:
    """The one unfinished job that hashes what was sent for the upload. Idempotent."""
    label = f"verify {upload.sha256[:12]}… for {upload.repo.repo_id}"
    return submit(
        "verify", key=str(upload.pk), label=label, repo=upload.repo, params={"upload": upload.pk},
        send_nudge=upload.size_bytes > AT_ONCE_BYTES,
    )  # fmt: skip


def verify_upload(lease: Lease) -> dict[str, Any] | Again | None:
    """The bytes are a blob and the upload says so, or they are gone and so is the upload. Idempotent."""
    upload = Upload.objects.filter(pk=lease.params["upload"]).select_related("repo").first()
    if upload is None or upload.blob_id is not None:
        return {"already": True}
    store, total = blob_store(), upload.size_bytes

    def on_progress(bytes_hashed: int) -> None:
        lease.progress(bytes_hashed, total, "hashing")
        lease.should_stop()  # raises when the job was cancelled, or is another worker's now

    try:
        with store.gather(stage_name(upload), parts_of(upload)) as staged:
            staged.finish(on_progress)
            try:
                keep(store, upload, staged)
            except DigestMismatch as error:
                staged.discard()
                upload.delete()
                raise JobFailed(
                    error.code, f"{error.expected} was announced, {error.actual} was sent."
                ) from None
    except StoreError as error:
        raise JobFailed(error.code, error.message, retryable=error.retryable) from error
    return {"sha256": upload.sha256, "size_bytes": upload.size_bytes}


def parts_of(upload: Upload) -> list[StagedPart]:
    """How the bytes are cut; one part if they are sent whole."""
    part_bytes = upload.parts.get("part_bytes") or max(upload.size_bytes, 1)
    starts = range(0, upload.size_bytes, part_bytes)
    return [
        StagedPart(number, start, min(part_bytes, upload.size_bytes - start))
        for number, start in enumerate(starts, start=1)
    ]


def wait_until_verified(upload: Upload) -> None:
    """The upload is a blob. Raises StillVerifying, or ObjectRefused with the reason."""
    if upload.blob_id is None:
        _wait(upload.sha256, request_verification(upload), PATIENCE_SECONDS)


def wait_for_objects(
    repo: Repo, digests: Collection[str], *, patience_seconds: float = PATIENCE_SECONDS
) -> None:
    """None of these objects of the repo is still being hashed; raises StillVerifying if that takes too long."""
    pending = Upload.objects.filter(repo=repo, blob=None, sha256__in=list(digests)[:1000])
    for upload in pending.select_related("repo"):
        job = Job.objects.unfinished().filter(kind="verify", key=str(upload.pk)).first()
        if job:
            _wait(upload.sha256, job, patience_seconds)


def _wait(sha256: str, job: Job, patience_seconds: float) -> None:
    began = time.monotonic()
    while not job.is_finished and (waited := time.monotonic() - began) < patience_seconds:
        if job.nudged_at is None or waited > CLAIM_SECONDS:
            run_job(job.pk)  # does nothing while a worker has it
        job.refresh_from_db()
        if not job.is_finished:
            time.sleep(POLL_SECONDS)
    if not job.is_finished:
        raise StillVerifying(sha256, job)
    if job.state != Job.State.SUCCEEDED:
        raise ObjectRefused(sha256, f"{job.error_message} Upload it again.")
