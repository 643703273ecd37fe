"""Celery doors of the mirror, and the handlers of its jobs."""

from typing import Any

from celery import shared_task

from registry.work import Again, Lease, register, run_job


@shared_task(name="mirror.mirror")
def mirror(job_id: int) -> None:
    run_job(job_id)


@register("mirror")
def _mirror(lease: Lease) -> dict[str, Any] | Again | None:
    from mirror.sync import sync_repo

    return sync_repo(lease)
