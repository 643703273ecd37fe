"""Verdicts that are due again: too old, or given by another engine build or by other limits.

Only the newest run on each file counts, and only files that somebody can get: artifacts, and what lies at the head of a
repo. The sweeper asks for a few at a time, and only while no other validation waits: what is new goes first.
"""

import time
from datetime import timedelta

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from conversion.inference.engine import EngineError
from conversion.inference.limits import read_limits
from conversion.inference.selftest import library_digest
from registry.models import Blob, File, Job, Validation
from registry.models.validation import ValidationQuerySet
from registry.validating import job_key, request_file_validation, request_validation

AT_ONCE = 2
"""Jobs that a sweep lets wait or run at a time."""

PAUSE_SECONDS = 60.0
"""Sweeps come every few seconds; verdicts do not grow old that fast."""

RETRY_AFTER = timedelta(days=1)
MOST_LOOKED_AT = 500
BY = "revalidation"
_next_look = 0.0


def sweep_stale(pause_seconds: float = PAUSE_SECONDS) -> int:
    """How many jobs this sweep submitted. Looks at most once a minute in a process; nothing while others wait."""
    global _next_look  # noqa: PLW0603  # one clock a process is what is meant
    now = time.monotonic()
    if not settings.HOLDFAST_REVALIDATE_DAYS or (pause_seconds and now < _next_look):
        return 0
    _next_look = now + pause_seconds
    waiting = Job.objects.unfinished().filter(kind="validate")
    if waiting.exclude(created_by=BY).exists():
        return 0
    before = set(waiting.values_list("pk", flat=True))
    return len({job.pk for job in submit_stale(AT_ONCE)} - before)


def submit_stale(limit: int) -> list[Job]:
    """Jobs for the oldest verdicts that are due, at most `limit`. Idempotent while they are unfinished.

    What was tried within a day and still is due could not be judged: it waits, so that it does not block the others.
    """
    rows = list(stale_validations()[:MOST_LOOKED_AT])
    since = timezone.now() - RETRY_AFTER
    tried = Job.objects.filter(kind="validate", finished_at__gt=since, key__in=[_key(row) for row in rows])
    tried_keys = set(tried.values_list("key", flat=True))
    untried = [row for row in rows if _key(row) not in tried_keys]
    return [job for row in untried[: max(0, limit)] if (job := _requested(row))]


def _key(row: Validation) -> str:
    return job_key(row.artifact_id, row.blob_id, row.parent_id)


def stale_validations() -> ValidationQuerySet:
    """The newest run on each file that can be had, if it is due, the oldest first."""
    newer = Validation.objects.filter(blob=OuterRef("blob"), created_at__gt=OuterRef("created_at"))
    at_head = File.objects.filter(blob=OuterRef("blob"), commit__repo__head=F("commit"))
    rows = Validation.objects.filter(~Exists(newer), blob__state=Blob.State.PRESENT).filter(_due())
    rows = rows.filter(Q(artifact__isnull=False) | Exists(at_head))
    return rows.with_places().defer("report").order_by("created_at", "pk")


def _due() -> Q:
    due = ~Q(limits_version=read_limits().version)
    if days := settings.HOLDFAST_REVALIDATE_DAYS:
        due |= Q(created_at__lt=timezone.now() - timedelta(days=days))
    try:
        digest = library_digest()
    except EngineError:  # nothing can be judged with an engine that is missing or broken
        return due
    library = "report__engines__artifact__library_sha256"
    other_build = ~Q(**{library: digest}) | Q(**{f"{library}__isnull": True})
    return due | (Q(engine__startswith="llama.cpp") & other_build)


def _requested(row: Validation) -> Job | None:
    if row.artifact:
        return request_validation(row.artifact, created_by=BY)
    file = File.objects.filter(blob=row.blob_id, commit__repo__head=F("commit"))
    found = file.select_related("blob", "commit__repo").order_by("commit__repo__repo_id", "path").first()
    return request_file_validation(found, row.parent, created_by=BY) if found else None
