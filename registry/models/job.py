"""Job: one unit of work. The row is the truth; a Celery message is a nudge that may be lost or doubled.

What happens when a worker dies: its heartbeat stops, the lease runs out by the database's clock, the sweeper
puts the job back in the queue, and the next worker claims it with a higher fencing token. Whatever the dead
worker may still try to write is refused, because every transaction that publishes checks that token
(`Lease.guard` in registry/work.py). After `max_attempts` deaths the job fails as `worker-lost`.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from registry.models.repo import Repo
from registry.models.rules import not_negative, one_of

STATES = ["queued", "running", "succeeded", "failed", "cancelled"]

# kind -> (Celery task that is nudged, queue). One line a kind; registry imports none of these tasks.
KINDS: dict[str, tuple[str, str]] = {
    "mirror": ("mirror.mirror", "io"),
    "lookup": ("mirror.lookup", "io"),
    "fetch": ("mirror.fetch", "io"),
    "verify": ("mirror.verify", "io"),
    "inspect": ("conversion.inspect", "light"),
    "convert": ("conversion.convert", "convert"),
    "validate": ("conversion.validate", "validate"),
    "reproduce": ("conversion.convert", "convert"),
    "rebuild": ("conversion.convert", "convert"),
}
QUEUES = ["io", "convert", "validate", "light"]


class JobQuerySet(models.QuerySet["Job"]):
    def unfinished(self) -> "JobQuerySet":
        return self.filter(state__in=["queued", "running"])

    def due(self) -> "JobQuerySet":
        """Queued, and allowed to start by the database's clock."""
        return self.filter(state="queued", run_after__lte=Now())

    def abandoned(self) -> "JobQuerySet":
        """Running, but the lease ran out: the worker died, hangs, or lost the database."""
        return self.filter(state="running", lease_until__lt=Now())

    def held(self, job_id: int, fence: int) -> "JobQuerySet":
        """The running job, if that fencing token is still the newest."""
        return self.filter(pk=job_id, state="running", fence=fence)

    def claim(self, job_id: int, owner: str) -> bool:
        """True when this caller, and nobody else, now holds the job. One conditional update."""
        claimed = self.due().filter(pk=job_id).update(
            state="running", owner=owner, fence=F("fence") + 1, attempts=F("attempts") + 1,
            started_at=models.functions.Coalesce(F("started_at"), Now()), claimed_at=Now(),
            lease_until=Now() + timedelta(seconds=settings.HOLDFAST_LEASE_SECONDS),
        )  # fmt: skip
        return claimed == 1


class Job(models.Model):
    """One unit of work: queued, running, then succeeded, failed or cancelled."""

    class State(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    kind = models.CharField(max_length=20)
    key = models.CharField(max_length=300, help_text="idempotency key: one unfinished job per kind and key")
    params = models.JSONField(default=dict)
    repo = models.ForeignKey(Repo, null=True, blank=True, on_delete=models.SET_NULL, related_name="jobs")
    label = models.CharField(max_length=300, help_text="what a person reads: `mirror org/name@main`")
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150, blank=True)
    run_after = models.DateTimeField(db_default=Now())
    nudged_at = models.DateTimeField(null=True, blank=True)

    owner = models.CharField(max_length=200, blank=True, help_text="host, process and thread that holds it")
    fence = models.BigIntegerField(default=0, help_text="fencing token: grows with every claim")
    attempts = models.IntegerField(default=0, help_text="claims since the job last came forward by itself")
    max_attempts = models.IntegerField(default=5)
    claimed_at = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    cancel_requested = models.BooleanField(default=False)

    phase = models.CharField(max_length=60, blank=True)
    bytes_done = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(null=True, blank=True)
    checkpoint = models.JSONField(default=dict, help_text="what a handler needs to continue after a stop")
    result = models.JSONField(default=dict)
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "key"],
                condition=Q(state__in=["queued", "running"]),
                name="job_once_unfinished",
            ),
            one_of("job", "state", STATES),
            one_of("job", "kind", list(KINDS)),
            not_negative("job", "bytes_done"),
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running"]) | Q(finished_at__isnull=False),
                name="job_finished_at_set",
            ),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_until__isnull=False), name="job_lease_while_running"
            ),
            models.CheckConstraint(
                condition=~Q(state="failed") | ~Q(error_code=""), name="job_failed_has_code"
            ),
        ]
        indexes = [
            models.Index(fields=["state", "run_after"], name="job_due"),
            models.Index(fields=["-created_at"], name="job_newest"),
            models.Index(fields=["kind", "key", "-id"], name="job_latest"),
        ]

    def __str__(self) -> str:
        return self.label

    def get_absolute_url(self) -> str:
        return f"/jobs/{self.pk}"

    @property
    def is_finished(self) -> bool:
        return self.state not in ("queued", "running")

    @property
    def share_done(self) -> float | None:
        """0 to 1, or None while the total is not known."""
        if not self.bytes_total:
            return None
        return min(self.bytes_done / self.bytes_total, 1.0)

    def as_json(self) -> dict[str, Any]:
        """What `manage.py jobs --json` and the job API say of it."""
        names = ["kind", "label", "state", "phase", "bytes_done", "bytes_total", "attempts", "params", "result",
                 "error_code", "error_message", "created_at", "started_at", "finished_at"]  # fmt: skip
        return {"id": self.pk} | {name: getattr(self, name) for name in names}
