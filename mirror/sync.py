"""One repo, mirrored: resolve → plan → fetch → verify → store → record.

The revision is resolved to a commit once and that commit is pinned in the job, so a branch that moves meanwhile, a
restart, or a second worker can never mix two commits. Bytes are promoted file by file as they prove right; nothing
is visible until all of them are there and `record_commit` writes every row in one transaction.
"""

import hashlib
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from django.conf import settings

from mirror.blobs.directory import DirectoryStore
from mirror.blobs.store import BlobStore, StagedBusy, StoreError
from mirror.fetch import Fetched, Halt, Stopped, fetch_file
from mirror.git.commits import with_object
from mirror.manifest import ManifestDiffers
from mirror.opening import open_client
from mirror.owners import HeldForReview
from mirror.plan import Plan, check_listing, make_plan
from mirror.record import record_commit, refresh_refs
from mirror.routing import BoundElsewhere, check_name
from mirror.source import Source, find_commit
from mirror.store import blob_store
from mirror.upstream import RemoteCommit, RemoteFile, UpstreamClient, UpstreamRef
from mirror.upstream.base import NotOurTurn, RateLimited, RemoteRef, UpstreamError
from registry.models import Blob, Job
from registry.work import Again, JobFailed, Lease, stopping, submit

SPARE_BYTES = 256 << 20  # left free on the disk for the database, the queue and logs
BUSY_SECONDS = 30.0  # another job is fetching the same file of the same repo
LONGEST_PATIENCE_SECONDS = 15 * 60  # with an upstream that never stops saying 429
POLL_SECONDS = 0.5
CHECKPOINT_SECONDS = 5.0
MAX_SAVED = 20_000  # files whose digests a checkpoint remembers; beyond it, small files are fetched once more


# --- what to mirror ---------------------------------------------------------------------------------------


def submit_mirror(
    ref: UpstreamRef, *, repo_id: str = "", created_by: str = "", send_nudge: bool = True
) -> Job:
    """The one unfinished job that mirrors this. Idempotent. Without `repo_id` the repo keeps upstream's name."""
    params = {
        "kind": ref.kind, "endpoint": ref.endpoint, "upstream_repo_id": ref.repo_id, "revision": ref.revision,
        "repo_type": ref.repo_type, "repo_id": repo_id,
    }  # fmt: skip
    label = f"mirror {ref}" + (f" as {repo_id}" if repo_id else "")
    key = hashlib.sha256("\n".join(params.values()).encode()).hexdigest()
    return submit(
        "mirror", key=key, label=label[:300], params=params, created_by=created_by, send_nudge=send_nudge
    )


def source_of(params: dict[str, Any]) -> Source:
    """What a mirror job was asked for."""
    ref = UpstreamRef(
        params["kind"],
        params["endpoint"],
        params["upstream_repo_id"],
        params["revision"],
        params["repo_type"],
    )
    return Source(ref, params["repo_id"])


# --- mirroring it -----------------------------------------------------------------------------------------


def sync_repo(lease: Lease) -> dict[str, Any] | Again:
    """The commit that the revision meant when the job first asked is held and published.

    Returns what was done (also "it was held already"), or Again when the slice is over or upstream asks to wait.
    What an audit found broken of a commit that is held is fetched again.
    Raises JobFailed, with upstream's or the store's code, when it cannot be done; then nothing is published.
    """
    source = source_of(lease.params)
    try:
        return _Sync(lease, source, open_client(source.ref), blob_store()).run()
    except RateLimited as limit:
        return Again(_patience(lease, limit), limit.message, limit.code)
    except StagedBusy as busy:
        return Again(BUSY_SECONDS, str(busy), busy.code)
    except UpstreamError as error:
        raise JobFailed(error.code, error.message, retryable=error.retryable) from error
    except (BoundElsewhere, HeldForReview, ManifestDiffers) as error:
        raise JobFailed(error.code, str(error)) from error
    except StoreError as error:
        code = "no-space" if error.code == "out-of-space" else error.code
        message = f"{lease.job.label}: {error}"
        raise JobFailed(code, message, retryable=error.retryable and code != "no-space") from error


def _patience(lease: Lease, limit: RateLimited) -> float:
    """Seconds to wait: until our turn, or what upstream asks for, but longer each time that it says so again."""
    if isinstance(limit, NotOurTurn):
        return limit.retry_after_seconds * random.uniform(1.0, 1.2)  # noqa: S311  # jitter: not all at once
    times = int(lease.saved.get("rate_limited", 0))
    lease.checkpoint({**lease.saved, "rate_limited": times + 1})
    return max(limit.retry_after_seconds, float(min(2**times, LONGEST_PATIENCE_SECONDS)))


@dataclass
class _Sync:
    """One slice of a mirror job."""

    lease: Lease
    source: Source
    client: UpstreamClient
    store: BlobStore
    done: dict[str, Fetched] = field(default_factory=dict)

    @property
    def earlier(self) -> dict[str, str]:
        """What earlier slices fetched: digest -> sha256."""
        return dict(self.lease.saved.get("done", {}))

    def run(self) -> dict[str, Any] | Again:
        self.lease.progress(0, None, "asking upstream")
        commit = self._pinned_commit()
        self.source = self.source.named(commit.repo_id)
        check_name(self.source.repo_id, self.source.ref, commit)
        held = find_commit(self.source, commit.commit_hash)
        if held and not held.files.exclude(blob__state=Blob.State.PRESENT).exists():
            digests = [file.etag for file in held.files.select_related("blob")]
            discard_leftovers(self.store, self.source.repo_id, digests)
            return refresh_refs(self.lease, self.source, held, self._refs(commit))
        files = self.client.list_files(commit.repo_id, commit.commit_hash)
        check_listing(commit, files)
        plan = make_plan(self.store, files, done=self.earlier, endpoint=self.source.ref.endpoint)
        refuse_when_full(self.store, plan)
        if not self._fetch(commit, plan):
            return Again(0, "the slice is over")
        self.lease.progress(plan.bytes_total, plan.bytes_total, "recording")
        result = record_commit(
            self.lease, self.source, with_object(self.client, commit, files),
            store=self.store, plan=plan, done=self.done, earlier=self.earlier, refs=self._refs(commit),
        )  # fmt: skip
        discard_leftovers(self.store, self.source.repo_id, [file.digest for file in files])
        return result

    def _pinned_commit(self) -> RemoteCommit:
        """The commit that an earlier slice pinned, or what the revision means now."""
        if saved := self.lease.saved.get("commit"):
            return _commit_from_json(saved)
        commit = self.client.resolve(self.source.ref.repo_id, self.source.ref.revision)
        self.lease.checkpoint({"commit": _commit_as_json(commit), "done": {}})
        return commit

    def _refs(self, commit: RemoteCommit) -> list[RemoteRef]:
        """Upstream's refs now. Not every mirror of a hub has them; the commit is none the worse for it."""
        try:
            return self.client.list_refs(commit.repo_id)
        except RateLimited:
            raise
        except UpstreamError:
            return []

    # --- fetching, several files at once ------------------------------------------------------------------

    def _fetch(self, commit: RemoteCommit, plan: Plan) -> bool:
        """True when every needed file is in the store; False when the slice ended first.

        Raises what the first file to fail raised, after the others have stopped; what they staged stays.
        """
        tally = _Tally(plan.bytes_total - plan.bytes_needed)
        halt = Halt()
        pool = ThreadPoolExecutor(settings.HOLDFAST_FILES_IN_PARALLEL, thread_name_prefix="fetch")

        def start(file: RemoteFile) -> Future[Fetched]:
            name = stage_name(self.source.repo_id, file.digest)
            return pool.submit(
                fetch_file, self.client, self.store, commit, file,
                stage_name=name, on_bytes=tally.add, halt=halt, is_broken=file.digest in plan.broken,
            )  # fmt: skip

        try:
            self._fetch_all(start, plan, tally, halt)
        finally:
            halt.at_once()
            pool.shutdown(wait=True, cancel_futures=True)
            self._save()
        return plan.missing <= set(self.done)

    def _fetch_all(
        self, start: Callable[[RemoteFile], Future[Fetched]], plan: Plan, tally: "_Tally", halt: Halt
    ) -> None:
        """Few files are in flight at a time, however many there are. Ends when none is."""
        queue, waiting = iter(plan.needed), dict[Future[Fetched], RemoteFile]()
        saved_at = time.monotonic()
        while True:
            room = 0 if halt.soon.is_set() else 2 * settings.HOLDFAST_FILES_IN_PARALLEL - len(waiting)
            waiting |= {start(file): file for file in islice(queue, room)}
            self.lease.progress(tally.bytes_done, plan.bytes_total, "fetching")
            if not waiting:
                return
            finished, _ = wait(waiting, POLL_SECONDS, FIRST_COMPLETED)
            for future in [
                one for one in waiting if one in finished
            ]:  # in the order in which they were begun
                file = waiting.pop(future)
                with suppress(Stopped):
                    self.done[file.digest] = future.result()
            if self.lease.should_stop():
                halt.soon.set()
            if stopping.is_set():
                halt.at_once()
            if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                self._save()
                saved_at = time.monotonic()

    def _save(self) -> None:
        """A later slice need not fetch again what this one promoted."""
        known = self.earlier | {digest: one.sha256 for digest, one in self.done.items()}
        if self.done and len(known) <= MAX_SAVED:
            self.lease.checkpoint({**self.lease.saved, "done": known})


@dataclass
class _Tally:
    """Bytes that are here, counted by several threads."""

    bytes_done: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, n_bytes: int) -> None:
        with self._lock:
            self.bytes_done += n_bytes


def stage_name(repo_id: str, digest: str) -> str:
    """Where a file of a repo is staged: the same in every slice, attempt and job, so that all of them resume it."""
    return f"mirror-{hashlib.sha256(repo_id.lower().encode()).hexdigest()[:16]}-{digest}"


def discard_leftovers(store: BlobStore, repo_id: str, digests: Iterable[str]) -> None:
    """Nothing of these files, all of which are held, is staged any more.

    Something is when a worker died and another repo brought the same bytes before the job went on, or when it died
    just before it could say that it was done.
    """
    names = {stage_name(repo_id, digest) for digest in digests}
    for stat in list(store.staged_names()):
        if (name := stat.key.rpartition("/")[2]) in names:
            with suppress(StagedBusy):
                store.stage(name).discard()


def refuse_when_full(
    store: BlobStore, plan: Plan, free_bytes: Callable[[str], int] = lambda path: shutil.disk_usage(path).free
) -> None:
    """Raises JobFailed before the first byte when a directory store has no room for all of them."""
    if not isinstance(store, DirectoryStore) or not plan.needed:
        return
    store.root.mkdir(parents=True, exist_ok=True)
    staged = sum(
        stat.size_bytes for stat in store.staged_names() if stat.key.rpartition("-")[2] in plan.missing
    )
    needed, free = plan.bytes_needed - staged, free_bytes(str(store.root))
    if needed + SPARE_BYTES > free:
        raise JobFailed(
            "no-space",
            f"{store.root} has {free} bytes free, but {needed} are to be fetched and {SPARE_BYTES} stay spare. "
            "Nothing was downloaded; free some space or set HOLDFAST_BLOBS to a larger store, then retry the job.",
        )


def _commit_as_json(commit: RemoteCommit) -> dict[str, Any]:
    date = commit.committed_at
    return {
        "repo_id": commit.repo_id, "commit_hash": commit.commit_hash, "title": commit.title, "message": commit.message,
        "author": commit.author, "committed_at": date.isoformat() if date else None,
        "parents": list(commit.parents), "info": commit.info,
    }  # fmt: skip


def _commit_from_json(saved: dict[str, Any]) -> RemoteCommit:
    date = saved["committed_at"]
    return RemoteCommit(
        **saved | {
            "committed_at": datetime.fromisoformat(date) if date else None, "parents": tuple(saved["parents"]),
        }
    )  # fmt: skip
