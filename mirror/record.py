"""What mirroring writes down: the manifest in the bucket, then every row of a commit in one transaction."""

import re
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.utils import timezone

from mirror.blobs.store import BlobStore
from mirror.completing import complete
from mirror.fetch import Fetched
from mirror.manifest import ManifestFile, manifest_bytes, write_manifest
from mirror.plan import QUERY_SIZE, Plan, sizes_by_digest
from mirror.routing import bind_as
from mirror.source import Source, find_repo
from mirror.upstream import RemoteCommit, RemoteFile
from mirror.upstream.base import RemoteRef
from registry.models import Blob, Commit, Event, File, Job, Ref, Repo
from registry.work import JobFailed, Lease, submit

AGENT = "holdfast mirror"
DEFAULT_BRANCH = "main"
_HASH = re.compile(r"[0-9a-f]{40}")


def record_commit(
    lease: Lease, source: Source, commit: RemoteCommit, *,
    store: BlobStore, plan: Plan, done: dict[str, Fetched], earlier: dict[str, str], refs: list[RemoteRef],
) -> dict[str, Any]:  # fmt: skip
    """The manifest is in the bucket, and Commit, File, Blob, Ref, Event and the inspection job are in the database.

    `done` is what this slice fetched, `earlier` what slices before it did (digest -> sha256); both are verified.
    One transaction under the lease's guard; the refs move last. Idempotent. Returns the job's result.
    """
    digests = plan.held | {digest: fetched.sha256 for digest, fetched in done.items()}
    manifest = manifest_for(source, commit, plan.files, digests)
    manifest_sha256 = write_manifest(store, source.repo_id, commit.commit_hash, manifest)
    with transaction.atomic():
        lease.guard()
        repo = _repo(source, commit)
        row, is_new = Commit.objects.get_or_create(
            repo=repo, commit_hash=commit.commit_hash,
            defaults={**_commit_facts(commit, plan), "manifest_sha256": manifest_sha256},
        )  # fmt: skip
        blobs = blob_rows(store, plan, done, earlier)
        if is_new:
            _add_files(row, plan.files, digests, blobs)
        elif commit.git_object:
            Commit.objects.filter(pk=row.pk, git_object=None).update(git_object=commit.git_object)
        by_digest = {digest: blobs[sha256] for digest, sha256 in digests.items()}
        is_news = is_new or complete(row, by_digest, manifest_sha256)
        if not is_news:
            _refuse_other_listing(row, source)
        moved = _move_refs(repo, row, source, refs)
        result = _result(source, commit, plan, set(done) | set(earlier)) | moved
        if is_news:
            note_ingestion(row, source, result)
            ask_for_inspection(row)
        Job.objects.filter(pk=lease.job.pk).update(repo=repo)
    return result


def _refuse_other_listing(row: Commit, source: Source) -> None:
    """Raises JobFailed when files of a commit that was pulled through are still missing after all of it came."""
    if path := row.files.filter(blob=None).values_list("path", flat=True).first():
        raise JobFailed(
            "listing-differs",
            f"{source} lists other files for {row.commit_hash[:8]} than when it was first asked for: {path} is not "
            "among them. What was recorded then stays; upstream may have lied once.",
        )


def record_listing(
    lease: Lease, source: Source, commit: RemoteCommit, *, store: BlobStore, plan: Plan, refs: list[RemoteRef]
) -> dict[str, Any]:  # fmt: skip
    """The commit is known with all its files, and those of them that are held have their blob; it is not complete.

    One transaction under the lease's guard; the refs move last. Idempotent. Returns the job's result.
    """
    with transaction.atomic():
        lease.guard()
        repo = _repo(source, commit)
        row, is_new = Commit.objects.get_or_create(
            repo=repo, commit_hash=commit.commit_hash,
            defaults={**_commit_facts(commit, plan), "is_complete": False},
        )  # fmt: skip
        if is_new:
            _add_files(row, plan.files, plan.held, blob_rows(store, plan, {}, {}))
        moved = _move_refs(repo, row, source, refs)
        Job.objects.filter(pk=lease.job.pk).update(repo=repo)
    return _result(source, commit, plan, set()) | moved


def refresh_refs(lease: Lease, source: Source, commit: Commit, refs: list[RemoteRef]) -> dict[str, Any]:
    """The commit was held already: only the refs that name it are brought up to date. Returns the job's result."""
    with transaction.atomic():
        lease.guard()
        repo = Repo.objects.select_for_update().get(pk=commit.repo_id)
        moved = _move_refs(repo, commit, source, refs)
        Job.objects.filter(pk=lease.job.pk).update(repo=repo)
    lease.progress(commit.size_bytes, commit.size_bytes, "held already")
    return {
        "repo_id": repo.repo_id, "commit": commit.commit_hash, "already_held": True,
        "n_files": commit.n_files, "size_bytes": commit.size_bytes, "n_fetched": 0, "fetched_bytes": 0,
    } | moved  # fmt: skip


def manifest_for(
    source: Source, commit: RemoteCommit, files: list[RemoteFile], digests: dict[str, str]
) -> bytes:
    card = commit.info.get("cardData")
    card = card if isinstance(card, dict) else {}
    ref = source.ref
    return manifest_bytes(
        repo_id=source.repo_id, repo_type=ref.repo_type, commit_hash=commit.commit_hash, parents=commit.parents,
        title=commit.title, message=commit.message, author=commit.author, committed_at=commit.committed_at,
        recorded_at=timezone.now(), recorded_by=AGENT, license_id=_text(card.get("license")),
        git_object=commit.git_object,
        upstream={
            "kind": ref.kind, "endpoint": ref.endpoint, "repo_id": ref.repo_id, "revision": ref.revision,
        },
        lineage=_declared_lineage(card),
        files=[
            ManifestFile(file.path, file.size_bytes, digests[file.digest], file.git_oid or "", bool(file.lfs_sha256))
            for file in files
        ],
    )  # fmt: skip


def _declared_lineage(card: dict[str, Any]) -> list[dict[str, Any]]:
    """What the author says this was made from, as upstream's card data has it."""
    bases = card.get("base_model") or []
    bases = [bases] if isinstance(bases, str) else bases
    relation = _text(card.get("base_model_relation"))
    return [
        {"relation": relation, "repo_id": base, "commit_hash": None, "declared_by": "author"}
        for base in bases
        if isinstance(base, str)
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _repo(source: Source, commit: RemoteCommit) -> Repo:
    """The row of the repo, locked where the database can; made when this is its first commit. Its name is bound."""
    upstream = bind_as(source.repo_id, source.ref, commit).upstream
    repo = find_repo(source)
    if repo is None:
        namespace, _, name = source.repo_id.partition("/")
        repo = Repo.objects.create(
            repo_id=source.repo_id, namespace=namespace, name=name, repo_type=source.ref.repo_type,
            upstream=upstream, upstream_repo_id=source.ref.repo_id, private=commit.info.get("private") is True,
            gated=_gated(commit),
        )  # fmt: skip
    return Repo.objects.select_for_update().get(pk=repo.pk)


def _gated(commit: RemoteCommit) -> str:
    gated = commit.info.get("gated")
    return gated if gated in ("auto", "manual") else ""


def _commit_facts(commit: RemoteCommit, plan: Plan) -> dict[str, Any]:
    return {
        "parents": list(commit.parents),
        "title": commit.title[:500],
        "message": commit.message,
        "author": commit.author[:200],
        "committed_at": commit.committed_at,
        "upstream_info": commit.info,
        "git_object": commit.git_object,
        "n_files": len(plan.files),
        "size_bytes": sum(file.size_bytes for file in plan.files),
    }


def blob_rows(
    store: BlobStore, plan: Plan, done: dict[str, Fetched], earlier: dict[str, str]
) -> dict[str, Blob]:
    """The row of every blob of the commit by sha256; new ones, and those that came back, are marked as verified."""
    proven = {one.sha256 for one in done.values()} | set(earlier.values())
    wanted = _wanted_blobs(store, plan, done, proven)
    # In one order everywhere: two jobs that add the same blobs would wait for each other in a circle otherwise.
    ordered = [wanted[sha256] for sha256 in sorted(wanted)]
    Blob.objects.bulk_create(ordered, batch_size=QUERY_SIZE, ignore_conflicts=True)
    for some in _in_batches(sorted(proven)):
        back = Blob.objects.filter(sha256__in=some).exclude(state=Blob.State.PRESENT)
        back.update(state=Blob.State.PRESENT, verified_at=timezone.now())
    rows: dict[str, Blob] = {}
    for some in _in_batches(sorted(wanted)):
        rows |= {row.sha256: row for row in Blob.objects.filter(sha256__in=some)}
    for sha256, row in rows.items():
        if row.git_oid is None and wanted[sha256].git_oid:
            Blob.objects.filter(pk=row.pk).update(git_oid=wanted[sha256].git_oid)
    return rows


def _wanted_blobs(
    store: BlobStore, plan: Plan, done: dict[str, Fetched], proven: set[str]
) -> dict[str, Blob]:
    """What each blob of the commit should say, by sha256; nothing is written."""
    now = timezone.now()
    by_digest = {file.digest: file for file in plan.files}
    return {
        sha256: Blob(
            sha256=sha256, git_oid=None if by_digest[digest].lfs_sha256 else by_digest[digest].git_oid,
            size_bytes=by_digest[digest].size_bytes, store=store.name,
            verified_at=now if sha256 in proven else None,
        )
        for digest, sha256 in (plan.held | {digest: one.sha256 for digest, one in done.items()}).items()
    }  # fmt: skip


def _in_batches(values: list[str]) -> Iterable[list[str]]:
    return (values[start : start + QUERY_SIZE] for start in range(0, len(values), QUERY_SIZE))


def _add_files(
    commit: Commit, files: list[RemoteFile], digests: dict[str, str], blobs: dict[str, Blob]
) -> None:
    """`digests` (digest -> sha256) lacks those whose bytes only upstream has."""
    File.objects.bulk_create(
        [
            File(
                commit=commit, path=file.path, blob=blobs.get(digests.get(file.digest, "")), size_bytes=file.size_bytes,
                git_oid=file.git_oid or "", is_lfs=bool(file.lfs_sha256), lfs_sha256=file.lfs_sha256,
            )
            for file in files
        ],
        batch_size=QUERY_SIZE,
    )  # fmt: skip


def _move_refs(repo: Repo, commit: Commit, source: Source, refs: list[RemoteRef]) -> dict[str, Any]:
    """Upstream's refs that name this commit, and the one that was asked for, name it here; returns what to tell.

    A branch that upstream has moved on meanwhile still gets the commit that was pinned; the next run brings the
    newer one.
    """
    named = {(ref.kind, ref.name) for ref in refs if ref.commit_hash == commit.commit_hash}
    asked, moved_to = _asked_ref(source.ref.revision, commit.commit_hash, refs)
    for kind, name in sorted(named | asked):
        if len(name) <= 250 and not _HASH.fullmatch(name):
            Ref.objects.update_or_create(repo=repo, kind=kind, name=name, defaults={"commit": commit})
    if ("branch", DEFAULT_BRANCH) in named | asked or repo.head_id is None:
        repo.head = commit
    repo.synced_at = timezone.now()
    repo.save(update_fields=["head", "synced_at", "updated_at"])
    told: dict[str, Any] = {"refs": sorted(name for _, name in named | asked)}
    return told | ({"moved_to": moved_to} if moved_to else {})


def _asked_ref(
    revision: str, commit_hash: str, refs: list[RemoteRef]
) -> tuple[set[tuple[str, str]], str | None]:
    """The ref that was asked for, and where upstream has moved it since the commit was pinned."""
    if number := re.fullmatch(r"refs/pr/(\d+)", revision):
        return {("pr", number[1])}, None
    if revision.startswith("refs/convert/"):  # no branch of anybody's, but what a client calls it by
        return {("branch", revision)}, None
    if _HASH.fullmatch(revision) or revision.startswith("refs/"):
        return set(), None
    now = next((ref for ref in refs if ref.name == revision), None)
    if now is None and commit_hash.startswith(revision):
        return set(), None  # a shortened hash
    moved_to = now.commit_hash if now and now.commit_hash != commit_hash else None
    return {(now.kind if now else "branch", revision)}, moved_to


def _result(source: Source, commit: RemoteCommit, plan: Plan, fetched: set[str]) -> dict[str, Any]:
    sizes = sizes_by_digest(plan.files)
    return {
        "repo_id": source.repo_id,
        "commit": commit.commit_hash,
        "already_held": False,
        "n_files": len(plan.files),
        "size_bytes": sum(file.size_bytes for file in plan.files),
        "n_fetched": len(fetched),
        "fetched_bytes": sum(sizes[digest] for digest in fetched),
    }


def note_ingestion(commit: Commit, source: Source, result: dict[str, Any]) -> None:
    summary = (
        f"mirrored {commit.repo.repo_id}@{commit.commit_hash[:8]} from {source}: {commit.n_files} files, "
    )
    Event.objects.create(
        type=Event.Type.INGESTION, agent=AGENT, repo=commit.repo, commit=commit,
        summary=(summary + f"{commit.size_bytes} bytes, {result['fetched_bytes']} of them fetched")[:500],
        detail=result | {"upstream": str(source)},
    )  # fmt: skip


def ask_for_inspection(commit: Commit) -> None:
    label = f"inspect {commit.repo.repo_id}@{commit.commit_hash[:8]}"
    submit("inspect", key=str(commit.pk), label=label, params={"commit": commit.pk}, repo=commit.repo)
