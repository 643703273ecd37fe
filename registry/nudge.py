"""Nudging workers. A nudge says "look at job N now"; losing or doubling one changes nothing but the delay."""

import logging
from datetime import timedelta

from celery import current_app
from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from kombu.exceptions import KombuError

from registry.models import Job
from registry.models.job import KINDS, QUEUES

logger = logging.getLogger(__name__)

# A job that was nudged and still waits is nudged again after this many sweeps. Few at a time, because each job that
# ends nudges the next one: a queue of thousands must not become thousands of messages a minute.
NUDGE_AGAIN_SWEEPS = 6
NUDGED_PER_QUEUE = 8


def nudge(job: Job) -> None:
    """A message names the job to a worker of its queue. When the broker is away the sweeper tries again."""
    task, queue = KINDS[job.kind]
    try:
        current_app.send_task(task, args=[job.pk], queue=queue, retry=False)
    except (KombuError, OSError, *current_app.connection_for_write().connection_errors) as error:
        logger.warning("job %s: broker away (%s); the sweeper will nudge again", job.pk, error)
        return
    Job.objects.filter(pk=job.pk).update(nudged_at=Now())


def nudge_next(kind: str) -> None:
    """The oldest job that is due on the queue of `kind` gets a nudge."""
    if job := _due_on(KINDS[kind][1]).first():
        nudge(job)


def nudge_waiting() -> int:
    """Some of the jobs that are due and were not nudged lately get a nudge; how many did."""
    patience = timedelta(seconds=NUDGE_AGAIN_SWEEPS * settings.HOLDFAST_SWEEP_SECONDS)
    stale = Q(nudged_at__isnull=True) | Q(nudged_at__lt=Now() - patience)
    jobs = [job for queue in QUEUES for job in _due_on(queue).filter(stale)[:NUDGED_PER_QUEUE]]
    for job in jobs:
        nudge(job)
    return len(jobs)


def _due_on(queue: str) -> "QuerySet[Job]":
    kinds = [kind for kind, (_, its_queue) in KINDS.items() if its_queue == queue]
    return Job.objects.due().filter(kind__in=kinds).order_by("run_after", "pk")
