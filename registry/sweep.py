"""The sweeper: puts back what died, nudges what waits. Safe to run anywhere, any number of times at once."""

import logging
from collections.abc import Callable

from django.db.models import F
from django.db.models.functions import Now

from registry.models import Job
from registry.nudge import nudge_waiting

logger = logging.getLogger(__name__)


_submitters: list[Callable[[], int]] = []


def sweeping(submit: Callable[[], int]) -> Callable[[], int]:
    """With every sweep this function submits what is due by its own rules, and says how many jobs; it must be cheap."""
    _submitters.append(submit)
    return submit


def sweep_jobs() -> dict[str, int]:
    """Afterwards no running job has an expired lease, and every due job has been nudged lately or soon will be."""
    swept = put_back_abandoned()
    swept["nudged"] = nudge_waiting()
    swept["submitted"] = sum(submit() for submit in _submitters)
    if any(swept.values()):
        logger.info("sweep: %s", ", ".join(f"{count} {what}" for what, count in swept.items() if count))
    return swept


def put_back_abandoned() -> dict[str, int]:
    """Afterwards no running job has an expired lease: it waits again, or has ended; how many of each."""
    return {"failed": _fail_poison(), "cancelled": _cancel_abandoned(), "requeued": _requeue_abandoned()}


def _fail_poison() -> int:
    """A job that outlived `max_attempts` workers fails, so that it cannot kill them one after another for ever."""
    return (
        Job.objects.abandoned()
        .filter(attempts__gte=F("max_attempts"))
        .update(
            state="failed",
            finished_at=Now(),
            lease_until=None,
            error_code="worker-lost",
            error_message="The worker died or hung each time this job ran. Look at the workers' log and memory, "
            "then retry the job.",
        )
    )


def _cancel_abandoned() -> int:
    lost = Job.objects.abandoned().filter(cancel_requested=True)
    return lost.update(state="cancelled", finished_at=Now(), lease_until=None)


def _requeue_abandoned() -> int:
    # The fencing token stays: the next claim raises it, and until then guard() refuses because of the state.
    return Job.objects.abandoned().update(
        state="queued", owner="", lease_until=None, nudged_at=None, run_after=Now()
    )
