"""The `lookup` job: what a revision means upstream now, which files that commit has, and which of them we hold.

Afterwards the repo, the commit, its files and the refs that name it are rows; a file's blob is null while only
upstream has the bytes. What is recorded once is the answer for ever, also when upstream is gone. A lookup that fails
changes nothing, and is remembered for a while so that asking again costs upstream nothing.
"""

import hashlib
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from mirror.blobs.store import StoreError
from mirror.git.commits import with_object
from mirror.manifest import ManifestDiffers
from mirror.opening import open_client
from mirror.owners import HeldForReview
from mirror.plan import check_listing, make_plan
from mirror.record import record_commit, record_listing, refresh_refs
from mirror.routing import BoundElsewhere, bind, candidates
from mirror.source import Source, find_commit
from mirror.store import blob_store
from mirror.through.recording import correct_listing
from mirror.upstream import RemoteCommit, UpstreamClient, UpstreamRef
from mirror.upstream.base import RateLimited, RemoteRef, RepoNotFound, UpstreamError
from registry.models import Commit, FormerName, Job, Repo
from registry.work import JobFailed, Lease, submit

ABSENT = frozenset({"repo-not-found", "revision-not-found", "bad-repo-id", "bound-elsewhere"})
WRONG = frozenset({"wrong-digest", "wrong-size", "html-instead-of-file", "pointer-instead-of-file"})
ABSENT_SECONDS = 60.0  # how long what upstream does not have stays absent here
TROUBLE_SECONDS = 10.0  # how long its trouble is taken to last, for whoever gets no answer at all
FORGOTTEN_AFTER = timedelta(days=1)
FORGOTTEN_AT_ONCE = 500


def lookup_key(repo_type: str, repo_id: str, revision: str) -> str:
    """What makes two lookups the same: a digest, since a revision may be as long as a URL."""
    return hashlib.sha256("\n".join([repo_type, repo_id.lower(), revision]).encode()).hexdigest()


def latest_lookup(repo_type: str, repo_id: str, revision: str) -> Job | None:
    """The newest row, whatever became of it. One query."""
    key = lookup_key(repo_type, repo_id, revision)
    return Job.objects.filter(kind="lookup", key=key).order_by("-pk").first()


def submit_lookup(repo_type: str, repo_id: str, revision: str, repo: Repo | None = None) -> Job:
    """The one unfinished lookup of this revision; older ones are forgotten. No worker is nudged."""
    key = lookup_key(repo_type, repo_id, revision)
    job = submit(
        "lookup", key=key, label=f"look up {repo_id}@{revision}"[:300], repo=repo, send_nudge=False,
        params={"repo_type": repo_type, "repo_id": repo_id, "revision": revision},
    )  # fmt: skip
    Job.objects.filter(kind="lookup", key=key, pk__lt=job.pk, finished_at__isnull=False).delete()
    return job


def is_remembered(job: Job, *, has_answer: bool) -> bool:
    """Whether the finished lookup is still young enough to be believed.

    With an older answer at hand (`has_answer`) a failure is believed as long as a success: we serve what we have, and
    upstream is asked again once in a while.
    """
    assert job.finished_at  # noqa: S101  # a finished job has one
    fresh = float(settings.HOLDFAST_PULL_THROUGH_FRESH_SECONDS)
    if job.state == Job.State.SUCCEEDED or has_answer:
        seconds = fresh
    elif job.error_code in ABSENT:
        seconds = ABSENT_SECONDS
    else:
        seconds = TROUBLE_SECONDS
    seconds = max(seconds, float(job.checkpoint.get("retry_after_seconds", 0)))
    return timezone.now() - job.finished_at < timedelta(seconds=seconds)


def forget_old() -> int:
    """Lookups, and fetches that failed, are gone a day after they began, some at a time: how many.

    Names that clients probe must not fill a table.
    """
    rows = Job.objects.filter(created_at__lt=timezone.now() - FORGOTTEN_AFTER, finished_at__isnull=False)
    old = rows.filter(Q(kind="lookup") | Q(kind="fetch", state=Job.State.FAILED)).values_list("pk", flat=True)
    return Job.objects.filter(pk__in=list(old[:FORGOTTEN_AT_ONCE])).delete()[0]


# --- the job ----------------------------------------------------------------------------------------------


def look_up(lease: Lease) -> dict[str, Any]:
    """The handler. Raises JobFailed with upstream's code; nothing is recorded then."""
    try:
        return _look_up(lease)
    except RateLimited as limit:
        lease.checkpoint({"retry_after_seconds": limit.retry_after_seconds or 0})
        raise JobFailed(limit.code, limit.message) from limit
    except UpstreamError as error:
        raise JobFailed(error.code, error.message) from error
    except (ManifestDiffers, BoundElsewhere, HeldForReview) as error:
        raise JobFailed(error.code, str(error)) from error
    except StoreError as error:
        raise JobFailed(error.code, str(error)) from error


def _look_up(lease: Lease) -> dict[str, Any]:
    params = lease.params
    ref, client, commit = _resolve(params["repo_type"], params["repo_id"], params["revision"])
    binding = bind(params["repo_id"], ref, commit)
    name = params["repo_id"] if binding.upstream_repo_id else ""
    source = Source(ref, name).named(commit.repo_id)
    refs = _refs(client, commit)
    if held := find_commit(source, commit.commit_hash):
        if not held.is_complete and _was_wrong(held):
            files = client.list_files(commit.repo_id, commit.commit_hash)
            check_listing(commit, files)
            correct_listing(lease, held, files)
        result = refresh_refs(lease, source, held, refs)
    else:
        result = _record(lease, source, client, commit, refs)
    _remember_name(params["repo_id"], result["repo_id"], params["repo_type"])
    return result


def _was_wrong(held: Commit) -> bool:
    """Whether bytes of the repo were not what they were listed as: perhaps the listing was wrong. One query."""
    return Job.objects.filter(
        kind="fetch", repo=held.repo, state=Job.State.FAILED, error_code__in=WRONG
    ).exists()


def _resolve(repo_type: str, repo_id: str, revision: str) -> tuple[UpstreamRef, UpstreamClient, RemoteCommit]:
    """The first upstream that has the repo, and what the revision means there.

    One that is in trouble ends the search: the next might have another repo of that name.
    """
    missing: RepoNotFound | None = None
    for ref in candidates(repo_type, repo_id, revision):
        client = open_client(ref)
        try:
            return ref, client, client.resolve(ref.repo_id, revision)
        except RepoNotFound as error:
            missing = error
    raise missing or RepoNotFound(repo_id, "any upstream that may be asked for it")


def _record(
    lease: Lease, source: Source, client: UpstreamClient, commit: RemoteCommit, refs: list[RemoteRef]
) -> dict[str, Any]:
    files = client.list_files(commit.repo_id, commit.commit_hash)
    check_listing(commit, files)
    commit = with_object(client, commit, files)
    store = blob_store()
    plan = make_plan(store, files, endpoint=source.ref.endpoint)
    if plan.needed:
        return record_listing(lease, source, commit, store=store, plan=plan, refs=refs)
    return record_commit(lease, source, commit, store=store, plan=plan, done={}, earlier={}, refs=refs)


def _refs(client: UpstreamClient, commit: RemoteCommit) -> list[RemoteRef]:
    """Upstream's refs now; the commit is none the worse for a mirror of a hub that has none."""
    try:
        return client.list_refs(commit.repo_id)
    except RateLimited:
        raise
    except UpstreamError:
        return []


def _remember_name(asked: str, repo_id: str, repo_type: str) -> None:
    """A name that upstream has moved on leads to the repo under its new one."""
    if asked.lower() == repo_id.lower():
        return
    repo = Repo.objects.by_id(repo_id).filter(repo_type=repo_type).first()
    with suppress(IntegrityError), transaction.atomic():
        if repo:
            FormerName.objects.create(repo=repo, repo_type=repo_type, old_repo_id=asked)
