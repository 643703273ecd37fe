"""What pulling through writes down when bytes have arrived."""

from django.db import transaction
from django.db.models import Sum

from mirror.blobs.store import BlobStore
from mirror.completing import complete, link
from mirror.fetch import Fetched
from mirror.manifest import write_manifest
from mirror.plan import Plan
from mirror.record import AGENT, ask_for_inspection, blob_rows, manifest_for, note_ingestion
from mirror.source import Source
from mirror.upstream import RemoteCommit, RemoteFile
from registry.models import Commit, Event, File, Repo
from registry.work import Lease


def link_fetched(lease: Lease, repo: Repo, *, store: BlobStore, plan: Plan, done: dict[str, Fetched]) -> int:
    """Every file of the repo that waited for these bytes has their blob; how many did. One transaction."""
    digests = plan.held | {digest: fetched.sha256 for digest, fetched in done.items()}
    with transaction.atomic():
        lease.guard()
        blobs = blob_rows(store, plan, done, {})
        waiting = File.objects.filter(commit__repo=repo, blob=None)
        return sum(link(waiting, digest, blobs[sha256]) for digest, sha256 in digests.items())


def correct_listing(lease: Lease, row: Commit, listed: list[RemoteFile]) -> list[str]:
    """Files whose bytes never were what upstream had listed are listed as it does now; their paths. One transaction.

    Only files that nobody ever had are touched: what was proven once stays what it is.
    """
    now = {file.path: file for file in listed}
    corrected = []
    with transaction.atomic():
        lease.guard()
        for file in row.files.filter(blob=None):
            told = now.get(file.path)
            if told is None or (told.digest, told.size_bytes) == (file.etag, file.size_bytes):
                continue
            file.size_bytes, file.git_oid = told.size_bytes, told.git_oid or ""
            file.lfs_sha256, file.is_lfs = told.lfs_sha256, bool(told.lfs_sha256)
            file.save(update_fields=["size_bytes", "git_oid", "lfs_sha256", "is_lfs"])
            corrected.append(file.path)
        if corrected:
            _note_correction(row, corrected)
    return corrected


def _note_correction(row: Commit, paths: list[str]) -> None:
    row.size_bytes = row.files.aggregate(total=Sum("size_bytes"))["total"]
    row.save(update_fields=["size_bytes"])
    Event.objects.create(
        type=Event.Type.METADATA, agent=AGENT, repo=row.repo, commit=row, detail={"paths": paths[:100]},
        summary=f"upstream had listed {paths[0]} of {row.commit_hash[:8]} wrongly, and lists it otherwise now"[:500],
    )  # fmt: skip


def complete_commits(lease: Lease, store: BlobStore, source: Source, repo: Repo) -> list[str]:
    """Every commit of the repo whose files are all held is complete; those that became so now. Idempotent."""
    lacking = File.objects.filter(commit__repo=repo, blob=None).values("commit")
    rows = Commit.objects.filter(repo=repo, is_complete=False).exclude(pk__in=lacking).select_related("repo")
    return [row.commit_hash for row in rows if complete_commit(lease, store, source, row)]


def complete_commit(lease: Lease, store: BlobStore, source: Source, row: Commit) -> bool:
    """The commit, all of whose files are held, has its manifest and is complete; False if it was so already.

    An event says so, and inspection is asked for: from here on it is like any mirrored commit.
    """
    files = list(row.files.select_related("blob"))
    listed = [RemoteFile(file.path, file.size_bytes, file.git_oid, file.lfs_sha256) for file in files]
    digests = {file.etag: file.held.sha256 for file in files}
    manifest = manifest_for(source, _as_upstream_told(row, source), listed, digests)
    manifest_sha256 = write_manifest(store, source.repo_id, row.commit_hash, manifest)
    with transaction.atomic():
        lease.guard()
        if not complete(row, {}, manifest_sha256):
            return False
        facts = {"n_files": row.n_files, "size_bytes": row.size_bytes, "fetched_bytes": row.size_bytes}
        note_ingestion(row, source, facts)
        ask_for_inspection(row)
    return True


def _as_upstream_told(row: Commit, source: Source) -> RemoteCommit:
    return RemoteCommit(
        source.ref.repo_id, row.commit_hash, row.title, row.message, row.author, row.committed_at,
        tuple(row.parents), row.upstream_info,
    )  # fmt: skip
