"""The `fetch` job: the bytes of one file of a pulled-through repo, for everybody who waits for them.

There is one per repo and digest, and its bytes are staged under the name that a mirror job of the repo would use, so
both share one upstream fetch. A client that leaves cancels nothing.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from mirror.blobs.store import BlobStore, StagedBusy, StoreError
from mirror.fetch import Fetched, Halt, Stopped, fetch_file
from mirror.manifest import ManifestDiffers
from mirror.opening import open_client
from mirror.plan import make_plan
from mirror.routing import binding_of
from mirror.source import Source
from mirror.store import blob_store
from mirror.sync import refuse_when_full, stage_name, submit_mirror
from mirror.through.recording import complete_commits, link_fetched
from mirror.upstream import RemoteCommit, RemoteFile, UpstreamRef
from mirror.upstream.base import RateLimited, UpstreamError, WrongBytes
from registry.models import Binding, Commit, File, Job, Repo
from registry.work import Again, JobFailed, Lease, submit

BUSY_SECONDS = 2.0  # a mirror job is fetching the same file
FAILED_SECONDS = 60.0  # how long a failed fetch is the answer, before upstream is tried again
DOUBT_SECONDS = 3600.0
MOST_FETCHES = 100  # of one digest that are looked at for wrong bytes; more than fail in that time


def fetch_key(repo: Repo, digest: str) -> str:
    return f"{repo.pk}:{digest}"


def latest_fetch(repo: Repo, digest: str) -> Job | None:
    """The newest row, whatever became of it. One query."""
    return Job.objects.filter(kind="fetch", key=fetch_key(repo, digest)).order_by("-pk").first()


def submit_fetch(file: File) -> Job:
    """The one unfinished job that brings these bytes. No worker is nudged. With HOLDFAST_PULL_THROUGH_WHOLE all other
    files of the commit are mirrored behind it."""
    repo, commit = file.commit.repo, file.commit
    job = submit(
        "fetch", key=fetch_key(repo, file.etag), repo=repo, send_nudge=False,
        label=f"fetch {repo.repo_id}@{commit.commit_hash[:8]} {file.path}"[:300],
        params={
            "repo": repo.pk, "digest": file.etag, "repo_id": repo.repo_id, "repo_type": repo.repo_type,
            "commit_hash": commit.commit_hash, "path": file.path,
        },
    )  # fmt: skip
    if settings.HOLDFAST_PULL_THROUGH_WHOLE:
        submit_mirror(upstream_of(commit), repo_id=repo.repo_id)
    return job


def is_failure_remembered(job: Job) -> bool:
    """Whether a fetch failed so lately that upstream is not tried again yet."""
    if job.state != Job.State.FAILED or job.finished_at is None:
        return False
    return timezone.now() - job.finished_at < timedelta(seconds=FAILED_SECONDS)


def was_doubtful(repo: Repo, digest: str) -> bool:
    """Whether wrong bytes came for this digest in the last hour: a client may have the beginning of them.

    One that then asks for the rest would put two different files together, so it must begin anew. One query.
    """
    jobs = Job.objects.filter(kind="fetch", key=fetch_key(repo, digest)).order_by("-pk")
    told = [job.checkpoint.get("wrong_at", 0.0) for job in jobs[:MOST_FETCHES]]
    return timezone.now().timestamp() - max(told, default=0.0) < DOUBT_SECONDS


def upstream_of(commit: Commit) -> UpstreamRef:
    """Where the commit came from, at exactly that commit."""
    repo = commit.repo
    assert repo.upstream  # noqa: S101  # a commit that is not complete has one
    name = repo.upstream_repo_id or repo.repo_id
    return UpstreamRef(repo.upstream.kind, repo.upstream.endpoint, name, commit.commit_hash, repo.repo_type)


def may_fetch(repo: Repo) -> bool:
    """Whether anything may be taken from the repo's upstream now: pull-through is on, and the name is not held.

    One query.
    """
    if not settings.HOLDFAST_PULL_THROUGH or repo.upstream_id is None:
        return False
    binding = binding_of(repo.repo_type, repo.repo_id)
    return binding is None or binding.state != Binding.State.HELD


# --- the job ----------------------------------------------------------------------------------------------


def fetch(lease: Lease) -> dict[str, Any] | Again:
    """The handler: the bytes are held, proven, and linked to every file of the repo that waited for them.

    Raises JobFailed with upstream's or the store's code; nothing wrong is stored then.
    """
    try:
        return _fetch(lease)
    except Stopped:
        return Again(0, "the slice is over")
    except RateLimited as limit:
        return Again(max(limit.retry_after_seconds or 0.0, 1.0), limit.message, limit.code)
    except StagedBusy as busy:
        return Again(BUSY_SECONDS, str(busy), busy.code)
    except UpstreamError as error:
        raise JobFailed(error.code, error.message, retryable=error.retryable) from error
    except ManifestDiffers as error:
        raise JobFailed(error.code, str(error)) from error
    except StoreError as error:
        code = "no-space" if error.code == "out-of-space" else error.code
        raise JobFailed(code, str(error), retryable=error.retryable and code != "no-space") from error


def _fetch(lease: Lease) -> dict[str, Any]:
    repo = Repo.objects.filter(pk=lease.params["repo"]).select_related("upstream").first()
    if repo is None or repo.upstream is None:
        return {"reason": "the repo is gone"}
    store, digest = blob_store(), lease.params["digest"]
    file = _waiting_file(repo, digest)
    n_linked = 0
    if file:
        file.commit.repo = repo
        n_linked = _bring(lease, store, repo, file)
    name = repo.upstream_repo_id or repo.repo_id
    commit_hash = lease.params["commit_hash"]
    ref = UpstreamRef(repo.upstream.kind, repo.upstream.endpoint, name, commit_hash, repo.repo_type)
    completed = complete_commits(lease, store, Source(ref, repo.repo_id), repo)
    return {"repo_id": repo.repo_id, "digest": digest, "n_linked": n_linked, "completed": completed}


def _waiting_file(repo: Repo, digest: str) -> File | None:
    """One of the repo's files that wait for these bytes; None when nothing does any more."""
    is_lfs = len(digest) == 64
    which = {"lfs_sha256": digest} if is_lfs else {"git_oid": digest, "is_lfs": False}
    files = File.objects.filter(commit__repo=repo, blob=None, **which)
    return files.select_related("commit").order_by("-commit__pk").first()


def _bring(lease: Lease, store: BlobStore, repo: Repo, file: File) -> int:
    """How many files have their blob now."""
    ref = upstream_of(file.commit)
    remote = RemoteFile(file.path, file.size_bytes, None if file.is_lfs else file.git_oid, file.lfs_sha256)
    plan = make_plan(store, [remote], endpoint=ref.endpoint)
    done = {}
    if plan.needed:
        refuse_when_full(store, plan)
        done = {remote.digest: _download(lease, store, ref, remote, is_broken=bool(plan.broken))}
    lease.progress(file.size_bytes, file.size_bytes, "recording")
    return link_fetched(lease, repo, store=store, plan=plan, done=done)


def _download(
    lease: Lease, store: BlobStore, ref: UpstreamRef, remote: RemoteFile, *, is_broken: bool
) -> Fetched:
    """Raises Stopped when the slice is over; what is staged stays."""
    halt, arrived = Halt(), 0

    def count(n_bytes: int) -> None:
        nonlocal arrived
        arrived += n_bytes
        if n_bytes < 0:  # wrong ones were thrown away, and some may be in a client's hands
            _note_doubt(lease)
        lease.progress(arrived, remote.size_bytes, "fetching")
        if lease.should_stop():
            halt.soon.set()

    try:
        return fetch_file(
            open_client(ref), store, RemoteCommit(ref.repo_id, ref.revision), remote,
            stage_name=stage_name(lease.params["repo_id"], remote.digest), on_bytes=count, halt=halt,
            is_broken=is_broken,
        )  # fmt: skip
    except WrongBytes:
        _note_doubt(lease)
        raise


def _note_doubt(lease: Lease) -> None:
    lease.checkpoint({**lease.saved, "wrong_at": timezone.now().timestamp()})
