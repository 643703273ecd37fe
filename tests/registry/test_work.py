"""The job engine, in one process: claims, leases, fencing, retries, cancellation, the sweeper."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from registry import work
from registry.models import Job
from registry.sweep import sweep_jobs
from registry.work import Again, JobFailed, Lease, LeaseLost

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[str, Any]]:
    """The handlers of this process; whatever a test registers is undone."""
    kept = dict(work._handlers)
    yield work._handlers
    work._handlers.clear()
    work._handlers.update(kept)


@pytest.fixture(autouse=True)
def _short_lease(settings: Any) -> None:
    settings.HOLDFAST_HEARTBEAT_SECONDS = 0.05
    settings.HOLDFAST_LEASE_SECONDS = 5


def submit(key: str = "one", **options: Any) -> Job:
    return work.submit("inspect", key=key, label=f"inspect {key}", params={}, send_nudge=False, **options)


def expire(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_until=Now() - work.timedelta(seconds=1))


def test_a_job_that_succeeds_keeps_its_result_and_progress() -> None:
    def handler(lease: Lease) -> dict[str, Any]:
        lease.progress(70, 100, "fetching")
        return {"answer": 42}

    work.register("inspect")(handler)
    job = submit()
    work.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.result, job.bytes_done, job.bytes_total) == ("succeeded", {"answer": 42}, 70, 100)
    assert job.finished_at
    assert job.lease_until is None


def test_the_same_work_is_submitted_once_until_it_is_finished() -> None:
    work.register("inspect")(lambda lease: None)
    first = submit()
    assert submit().pk == first.pk
    work.run_job(first.pk)
    assert submit().pk != first.pk


def test_submitting_from_many_threads_at_once_gives_one_job() -> None:
    found: list[int] = []

    def try_it() -> None:
        found.append(submit().pk)
        connection.close()

    threads = [threading.Thread(target=try_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_doubled_message_runs_the_job_once() -> None:
    runs: list[int] = []
    work.register("inspect")(lambda lease: runs.append(lease.job.fence))  # type: ignore[func-returns-value]
    job = submit()
    for _ in range(5):
        work.run_job(job.pk)
    assert runs == [1]


def test_only_one_of_many_claims_wins() -> None:
    job = submit()
    won: list[bool] = []

    def try_it(name: str) -> None:
        won.append(Job.objects.claim(job.pk, name))
        connection.close()

    threads = [threading.Thread(target=try_it, args=(f"worker-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_job_that_is_gone_is_not_an_error() -> None:
    work.run_job(999_999)


def test_an_expected_failure_has_its_code_and_is_final() -> None:
    def handler(lease: Lease) -> None:
        raise JobFailed("wrong-bytes", "org/name model.bin: expected 9f…, got 41…")

    work.register("inspect")(handler)
    job = submit()
    work.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "wrong-bytes")
    assert "org/name" in job.error_message


def test_a_retryable_failure_waits_and_then_fails_for_good() -> None:
    def handler(lease: Lease) -> None:
        raise JobFailed("upstream-unavailable", "502", retryable=True, retry_after_seconds=0)

    work.register("inspect")(handler)
    job = submit()
    states = []
    for _ in range(job.max_attempts):
        work.run_job(job.pk)
        job.refresh_from_db()
        states.append(job.state)
    assert states == ["queued"] * (job.max_attempts - 1) + ["failed"]


def test_trouble_that_is_over_does_not_stay_in_the_row_of_a_job_that_succeeded() -> None:
    outcomes = [JobFailed("upstream-unavailable", "502", retryable=True, retry_after_seconds=0), None]

    def handler(lease: Lease) -> None:
        if trouble := outcomes.pop(0):
            raise trouble

    work.register("inspect")(handler)
    job = submit()
    work.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code, job.error_message) == ("queued", "upstream-unavailable", "502")
    work.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code, job.error_message) == ("succeeded", "", "")


def test_a_job_that_waits_says_why() -> None:
    work.register("inspect")(lambda lease: Again(60, "the hub asks us to wait", "rate-limited"))
    job = submit()
    work.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code, job.error_message) == (
        "queued",
        "rate-limited",
        "the hub asks us to wait",
    )


def test_a_job_told_to_wait_is_not_claimed_before_its_time() -> None:
    work.register("inspect")(lambda lease: Again(after_seconds=3600, reason="429"))
    job = submit()
    work.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "queued"
    assert not Job.objects.claim(job.pk, "someone")
    assert sweep_jobs()["nudged"] == 0


def test_a_bug_in_a_handler_is_a_failure_with_a_code_not_a_stuck_job() -> None:
    def handler(lease: Lease) -> None:
        raise ZeroDivisionError("oops")

    work.register("inspect")(handler)
    job = submit()
    for _ in range(job.max_attempts):
        Job.objects.filter(pk=job.pk).update(run_after=Now())
        work.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "internal-error")
    assert "ZeroDivisionError: oops" in job.error_message


def test_what_a_checkpoint_wrote_is_there_for_the_next_worker() -> None:
    seen: list[dict[str, Any]] = []

    def handler(lease: Lease) -> Again | None:
        seen.append(lease.saved)
        lease.checkpoint({"part": len(seen)})
        return Again() if len(seen) < 3 else None

    work.register("inspect")(handler)
    job = submit()
    for _ in range(3):
        work.run_job(job.pk)
    assert seen == [{}, {"part": 1}, {"part": 2}]


def test_the_sweeper_puts_back_a_job_whose_worker_died() -> None:
    job = submit()
    assert Job.objects.claim(job.pk, "dead worker")
    assert sweep_jobs()["requeued"] == 0
    expire(job)
    assert sweep_jobs()["requeued"] == 1
    job.refresh_from_db()
    assert job.state == "queued"


def test_a_poison_job_fails_after_its_last_attempt() -> None:
    job = submit()
    for _ in range(job.max_attempts):
        assert Job.objects.claim(job.pk, "victim")
        expire(job)
        sweep_jobs()
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "worker-lost")


def test_a_zombie_cannot_publish_checkpoint_or_finish() -> None:
    """Promise: whoever lost the lease writes nothing more, however late it wakes up."""
    job = submit()
    Job.objects.claim(job.pk, "zombie")
    zombie = Lease(Job.objects.get(pk=job.pk))
    expire(job)
    sweep_jobs()
    Job.objects.claim(job.pk, "successor")
    with pytest.raises(LeaseLost), transaction.atomic():
        zombie.guard()
    with pytest.raises(LeaseLost):
        zombie.checkpoint({"stale": True})
    work._finish(zombie, "succeeded", result={"stale": True})
    job.refresh_from_db()
    assert (job.state, job.owner, job.checkpoint, job.result) == ("running", "successor", {}, {})


def test_guard_refuses_to_be_used_without_a_transaction() -> None:
    job = submit()
    Job.objects.claim(job.pk, "me")
    with pytest.raises(RuntimeError, match="transaction"):
        Lease(Job.objects.get(pk=job.pk)).guard()


def test_a_heartbeat_keeps_the_lease_alive_while_the_handler_works(settings: Any) -> None:
    settings.HOLDFAST_LEASE_SECONDS = 0.6
    swept: list[int] = []

    def handler(lease: Lease) -> None:
        for _ in range(12):
            threading.Event().wait(0.1)
            swept.append(sweep_jobs()["requeued"])

    work.register("inspect")(handler)
    job = submit()
    work.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "succeeded"
    assert sum(swept) == 0


def test_cancelling_a_running_job_ends_it_at_its_next_checkpoint() -> None:
    def handler(lease: Lease) -> None:
        work.cancel(lease.job.pk)
        for _ in range(200):
            threading.Event().wait(0.02)
            lease.should_stop()
        raise AssertionError("never noticed")

    work.register("inspect")(handler)
    job = submit()
    work.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "cancelled"


def test_cancelling_a_queued_job_ends_it_at_once_and_retry_starts_anew() -> None:
    work.register("inspect")(lambda lease: None)
    job = submit()
    assert work.cancel(job.pk)
    work.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "cancelled"
    again = work.retry(job.pk)
    assert again is not None
    assert again.pk != job.pk
    assert work.retry(again.pk) is None


def test_progress_never_goes_backwards() -> None:
    work.register("inspect")(lambda lease: lease.progress(10, 100))
    job = submit()
    Job.objects.filter(pk=job.pk).update(bytes_done=60)
    work.run_job(job.pk)
    job.refresh_from_db()
    assert job.bytes_done == 60


def test_the_foreground_sees_a_job_through_all_its_slices() -> None:
    slices: list[int] = []

    def handler(lease: Lease) -> Again | None:
        slices.append(1)
        lease.progress(len(slices), 3)
        return Again() if len(slices) < 3 else None

    work.register("inspect")(handler)
    shown: list[int] = []
    done = work.run_in_foreground(submit(), lambda progress: shown.append(progress.bytes_done))
    assert done.state == "succeeded"
    assert len(slices) == 3
    assert shown[-1] == 3


def test_jobs_are_nudged_again_only_when_the_last_nudge_is_old() -> None:
    job = submit()
    assert sweep_jobs()["nudged"] == 1
    assert sweep_jobs()["nudged"] == 0
    Job.objects.filter(pk=job.pk).update(nudged_at=Now() - work.timedelta(minutes=5))
    assert sweep_jobs()["nudged"] == 1


def test_a_worker_that_was_asked_to_end_begins_nothing() -> None:
    work.register("inspect")(lambda lease: None)
    job = submit()
    work.stopping.set()
    try:
        work.run_job(job.pk)
    finally:
        work.stopping.clear()
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("queued", 0)
    work.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "succeeded"
