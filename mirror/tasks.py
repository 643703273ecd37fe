"""Celery doors of the mirror, and the handlers of its jobs."""

from typing import Any

from celery import shared_task
from django.conf import settings

from registry.sweep import sweeping
from registry.work import Again, Lease, register, run_job


@shared_task(name="mirror.mirror")
def mirror(job_id: int) -> None:
    run_job(job_id)


@shared_task(name="mirror.lookup")
def lookup(job_id: int) -> None:
    run_job(job_id)


@shared_task(name="mirror.fetch")
def fetch(job_id: int) -> None:
    run_job(job_id)


@shared_task(name="mirror.verify")
def verify(job_id: int) -> None:
    run_job(job_id)


@register("mirror")
def _mirror(lease: Lease) -> dict[str, Any] | Again | None:
    from mirror.sync import sync_repo

    return sync_repo(lease)


@register("lookup")
def _lookup(lease: Lease) -> dict[str, Any] | Again | None:
    from mirror.through.lookups import look_up

    return look_up(lease)


@register("fetch")
def _fetch(lease: Lease) -> dict[str, Any] | Again | None:
    from mirror.through import fetches

    return fetches.fetch(lease)


@register("verify")
def _verify(lease: Lease) -> dict[str, Any] | Again | None:
    from mirror.uploads.verifying import verify_upload

    return verify_upload(lease)


@sweeping
def _forget() -> int:
    if not settings.HOLDFAST_PULL_THROUGH:
        return 0
    from mirror.through.lookups import forget_old

    forget_old()
    return 0  # submits nothing
