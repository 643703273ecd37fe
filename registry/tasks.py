"""Celery doors of the registry."""

from celery import shared_task
from celery.signals import worker_shutting_down

from registry import work
from registry.sweep import sweep_jobs


@shared_task(name="registry.sweep")
def sweep() -> None:
    sweep_jobs()


@worker_shutting_down.connect
def _stop_at_next_checkpoint(**_: object) -> None:
    work.stopping.set()
