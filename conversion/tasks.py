"""Celery doors of conversion, and the handlers of its jobs. Engines and numpy load when a job needs them."""

from typing import Any

from celery import shared_task
from celery.signals import worker_ready
from django.conf import settings

from registry.sweep import sweeping
from registry.work import Again, Lease, register, run_job


@worker_ready.connect
def _warm_kernels(sender: Any = None, **_: Any) -> None:
    """A worker that converts gets the kernels of common types ready before somebody waits for them."""
    queues = getattr(getattr(sender, "task_consumer", None), "queues", ())
    if settings.HOLDFAST_WARM_KERNELS and any(queue.name == "convert" for queue in queues):
        from conversion.quants.kernels.warming import warm_in_background

        warm_in_background(settings.HOLDFAST_WARM_KERNELS)


@shared_task(name="conversion.inspect")
def inspect(job_id: int) -> None:
    run_job(job_id)


@shared_task(name="conversion.convert")
def convert(job_id: int) -> None:
    run_job(job_id)


@shared_task(name="conversion.validate")
def validate(job_id: int) -> None:
    run_job(job_id)


@register("inspect")
def _inspect(lease: Lease) -> dict[str, Any] | Again | None:
    from conversion.inspection import inspect_commit

    return inspect_commit(lease)


@register("convert")
def _convert(lease: Lease) -> dict[str, Any] | Again | None:
    from conversion.convert import convert_commit

    return convert_commit(lease)


@register("reproduce")
def _reproduce(lease: Lease) -> dict[str, Any] | Again | None:
    from conversion.reproduce import reproduce_artifact

    return reproduce_artifact(lease)


@register("rebuild")
def _rebuild(lease: Lease) -> dict[str, Any] | Again | None:
    from conversion.reproduce import rebuild_artifact

    return rebuild_artifact(lease)


@register("validate")
def _judge(lease: Lease) -> dict[str, Any] | Again | None:
    from conversion.validation import validate

    return validate(lease)


@sweeping
def _revalidate() -> int:
    if not settings.HOLDFAST_REVALIDATE_DAYS:
        return 0
    from conversion.revalidation import sweep_stale

    return sweep_stale()
