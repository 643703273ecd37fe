"""What the doors of the Hub API call before they answer: is it here, and if not, does upstream have it?

A request waits for a lookup at most ANSWER_SECONDS after that began, because clients give up after ten; with an older
answer at hand only REFRESH_SECONDS, then that is served and the lookup goes on behind. Nothing costs a query while
HOLDFAST_PULL_THROUGH is empty, and, for a repo that is here, while this process knows that the answer is fresh.
"""

import threading
import time

from django.conf import settings
from django.utils import timezone

from mirror.routing import candidates
from mirror.through.lookups import ABSENT, is_remembered, latest_lookup, submit_lookup
from mirror.through.running import TooManyWait, is_parked, room, start_or_nudge, wait_for
from registry.models import Commit, Job, Repo

ANSWER_SECONDS, REFRESH_SECONDS = 9.0, 3.0
BUSY_SECONDS = 2.0  # when to come back, if there was no room to wait
LONGEST_REVISION = 250
_MOST_KNOWN = 10_000

_lock = threading.Lock()
_fresh_until: dict[tuple[int, str], float] = {}


class UpstreamTrouble(Exception):
    """Nothing can be said now, because upstream cannot or will not answer. Never means that something is absent."""

    def __init__(self, code: str, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after_seconds = code, message, retry_after_seconds


class NoSuchRevision(Exception):
    """Upstream has the repo, but not this revision of it."""


def bring_repo(repo_type: str, repo_id: str, revision: str) -> str | None:
    """Looks upstream for a repo that is not here; its name if it is here now, None if no upstream has it.

    Raises NoSuchRevision and UpstreamTrouble.
    """
    if not settings.HOLDFAST_PULL_THROUGH or not _can_be_asked(revision):
        return None
    if Repo.objects.filter(repo_type=repo_type).by_id(repo_id).exists():
        return None  # it is here, and not for this visitor to see
    job = latest_lookup(repo_type, repo_id, revision)
    if job is None or not _is_answer(job, has_answer=False):
        if not candidates(repo_type, repo_id, revision):
            return None
        job = _ask(repo_type, repo_id, revision, None, ANSWER_SECONDS)
    return _found(job, revision)


def ask_again(repo: Repo, revision: str, *, has_answer: bool, is_final: bool) -> Commit | None:
    """What upstream says of a revision of a repo that is here, after it was looked up if that was due.

    None when there is nothing new to say: the caller goes by its rows. `has_answer`: the rows know the revision;
    `is_final`: and it can never mean anything else. Raises UpstreamTrouble only without an answer.
    """
    if not settings.HOLDFAST_PULL_THROUGH or repo.upstream_id is None or (has_answer and is_final):
        return None
    if not _can_be_asked(revision) or (has_answer and _is_known_fresh(repo, revision)):
        return None
    job = latest_lookup(repo.repo_type, repo.repo_id, revision)
    if job is None or not _is_answer(job, has_answer=has_answer):
        if not candidates(repo.repo_type, repo.repo_id, revision):
            _note_fresh(repo, revision)
            return None
        job = _refresh(repo, revision, has_answer=has_answer)
    if job is None or (has_answer and job.state != Job.State.SUCCEEDED):
        return None
    if job.state == Job.State.FAILED and job.error_code in ABSENT:
        return None
    _found(job, revision)
    if is_remembered(job, has_answer=True):
        _note_fresh(repo, revision)
    return Commit.objects.filter(repo=repo, commit_hash=job.result["commit"]).select_related("repo").first()


def _refresh(repo: Repo, revision: str, *, has_answer: bool) -> Job | None:
    """The lookup; None if there is an answer and this process has no room to wait for a newer one."""
    patience = REFRESH_SECONDS if has_answer else ANSWER_SECONDS
    try:
        return _ask(repo.repo_type, repo.repo_id, revision, repo, patience)
    except UpstreamTrouble:
        if has_answer:
            return None
        raise


def _ask(repo_type: str, repo_id: str, revision: str, repo: Repo | None, patience: float) -> Job:
    """The lookup, finished if it was so within `patience` seconds of its beginning. Raises UpstreamTrouble if busy."""
    job = submit_lookup(repo_type, repo_id, revision, repo)
    start_or_nudge(job)
    age = max((timezone.now() - job.created_at).total_seconds(), 0.0)
    try:
        with room.place():
            return wait_for(job, time.monotonic() + patience - age)
    except TooManyWait:
        message = f"Too many requests wait for upstream; {repo_id} is being looked up. Ask again in a moment."
        raise UpstreamTrouble("busy", message, BUSY_SECONDS) from None


def _is_answer(job: Job, *, has_answer: bool) -> bool:
    return job.is_finished and is_remembered(job, has_answer=has_answer)


def _found(job: Job, revision: str) -> str | None:
    """The name of the repo that a finished lookup found; None if there is none."""
    if job.state == Job.State.SUCCEEDED:
        return str(job.result["repo_id"])
    if job.error_code == "revision-not-found":
        raise NoSuchRevision(revision)
    if job.error_code in ABSENT:
        return None
    raise trouble_of(job)


def trouble_of(job: Job) -> UpstreamTrouble:
    """Why an unfinished or failed job has no answer yet, and when to ask again. One query or two."""
    job.refresh_from_db()
    code = job.error_code or "not-yet"
    message = job.error_message or f"{job.label} is under way. Ask again in a moment."
    if job.state == Job.State.QUEUED and is_parked(job):
        return UpstreamTrouble(code, message, max((job.run_after - timezone.now()).total_seconds(), 1.0))
    return UpstreamTrouble(code, message, job.checkpoint.get("retry_after_seconds") or BUSY_SECONDS)


def _can_be_asked(revision: str) -> bool:
    return 0 < len(revision) <= LONGEST_REVISION and revision.isprintable()


def _is_known_fresh(repo: Repo, revision: str) -> bool:
    return _fresh_until.get((repo.pk, revision), 0.0) > time.monotonic()


def _note_fresh(repo: Repo, revision: str) -> None:
    with _lock:
        if len(_fresh_until) >= _MOST_KNOWN:
            _fresh_until.clear()
        _fresh_until[repo.pk, revision] = time.monotonic() + settings.HOLDFAST_PULL_THROUGH_FRESH_SECONDS


def forget_freshness() -> None:
    """This process knows of no answer that it is fresh: for tests, which reuse primary keys."""
    _fresh_until.clear()
