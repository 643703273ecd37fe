"""What an audit found broken is made whole, where somebody else still has it: the digest decides, not the place."""

from dataclasses import replace
from typing import Any

from django.utils import timezone

from mirror.blobs.store import BlobStore, StoreError, blob_key, manifest_key
from mirror.fixity.blobs import AGENT, hash_blob
from mirror.fixity.report import Finding
from mirror.manifest import ManifestFile, manifest_bytes, write_manifest
from mirror.opening import open_client
from mirror.quarantine import set_aside
from mirror.upstream import RemoteFile, UpstreamError, UpstreamRef
from registry.models import Blob, Commit, Event, File, Lineage

MAX_PLACES = 20
"""How many commits that have the file are asked for it; forks of one model may be thousands."""


def repair_blob(store: BlobStore, blob: Blob, finding: Finding) -> Finding:
    """The blob is whole again, from the first upstream that has its bytes; else the finding says who was asked.

    The broken copy is set aside under `quarantine/` and only then replaced. Safe to run again after a crash: what was
    fetched stays staged until it has its name.
    """
    tried: list[str] = []
    for file in _places(blob):
        ref = _upstream_of(file.commit)
        try:
            _fetch_again(store, blob, file, ref)
        except (UpstreamError, StoreError) as error:
            tried.append(f"{ref}: {error}")
            continue
        _record_repair(blob, str(ref))
        return replace(finding, is_repaired=True, message=f"{finding.message} Fetched again from {ref}.")
    asked = "; ".join(tried) if tried else "no upstream has it: it was made here, or its upstream is unknown"
    return replace(finding, message=f"{finding.message} Not repaired: {asked}."[:1000])


def _places(blob: Blob) -> list[File]:
    """Files of mirrored commits that are this blob."""
    files = File.objects.filter(blob=blob, commit__repo__upstream__isnull=False)
    return list(files.select_related("commit__repo__upstream").order_by("-commit__recorded_at")[:MAX_PLACES])


def _upstream_of(commit: Commit) -> UpstreamRef:
    repo = commit.repo
    assert repo.upstream  # noqa: S101  # the query asked for it
    upstream = repo.upstream
    return UpstreamRef(
        upstream.kind,
        upstream.endpoint,
        repo.upstream_repo_id or repo.repo_id,
        commit.commit_hash,
        repo.repo_type,
    )


def _fetch_again(store: BlobStore, blob: Blob, file: File, ref: UpstreamRef) -> None:
    wanted = RemoteFile(
        file.path,
        file.size_bytes,
        None if file.is_lfs else file.git_oid,
        blob.sha256 if file.is_lfs else None,
    )
    with store.stage(f"repair-{blob.sha256}") as staged:
        if staged.size_bytes > blob.size_bytes:
            staged.discard()
            raise StoreError("too many bytes were staged; they are discarded, run the repair again")
        if staged.size_bytes < blob.size_bytes:
            with open_client(ref).open(ref.repo_id, ref.revision, wanted, staged.size_bytes) as pieces:
                for piece in pieces:
                    staged.write(piece)
        digests = staged.finish()
        if digests.sha256 != blob.sha256:
            staged.discard()
            raise StoreError(f"its bytes have sha256 {digests.sha256}")
        set_aside(store, blob.sha256)
        store.promote(staged, blob_key(blob.sha256), sha256=blob.sha256, size_bytes=blob.size_bytes)
    if hash_blob(store, blob).sha256 != blob.sha256:
        raise StoreError(
            "the good bytes were stored, but other ones are read back: the disk or bucket is failing"
        )


def _record_repair(blob: Blob, source: str) -> None:
    Blob.objects.filter(pk=blob.pk).update(state=Blob.State.PRESENT, verified_at=timezone.now())
    Event.objects.create(
        type=Event.Type.REPLICATION, agent=AGENT, blob=blob,
        summary=f"blob {blob.sha256[:12]}… was repaired from {source}"[:500], detail={"source": source},
    )  # fmt: skip


def repair_manifest(store: BlobStore, commit: Commit, finding: Finding) -> Finding:
    """A manifest that is gone is written again from the rows. One that is there is evidence and is left alone."""
    if finding.code != "manifest-missing":
        return finding
    manifest = _rebuilt(commit)
    sha256 = write_manifest(store, commit.repo.repo_id, commit.commit_hash, manifest)
    Commit.objects.filter(pk=commit.pk).update(manifest_sha256=sha256)
    key = manifest_key(commit.repo.repo_id, commit.commit_hash)
    Event.objects.create(
        type=Event.Type.METADATA, agent=AGENT, repo=commit.repo, commit=commit,
        summary=f"{key} was lost and is written again from the catalog"[:500],
    )  # fmt: skip
    return replace(finding, is_repaired=True, message=f"{finding.message} Written again from the catalog.")


def _rebuilt(commit: Commit) -> bytes:
    repo = commit.repo
    return manifest_bytes(
        repo_id=repo.repo_id, repo_type=repo.repo_type, commit_hash=commit.commit_hash, parents=commit.parents,
        title=commit.title, message=commit.message, author=commit.author, committed_at=commit.committed_at,
        recorded_at=commit.recorded_at, recorded_by=AGENT, license_id=commit.license,
        git_object=bytes(commit.git_object) if commit.git_object else None,
        upstream=_upstream_as_json(commit) if repo.upstream else None,
        lineage=[_edge_as_json(edge) for edge in repo.parent_edges.select_related("parent_commit").order_by("pk")],
        files=[
            ManifestFile(file.path, file.size_bytes, file.held.sha256, file.git_oid, file.is_lfs)
            for file in commit.files.select_related("blob")
        ],
    )  # fmt: skip


def _upstream_as_json(commit: Commit) -> dict[str, Any]:
    ref = _upstream_of(commit)
    return {"kind": ref.kind, "endpoint": ref.endpoint, "repo_id": ref.repo_id, "revision": ref.revision}


def _edge_as_json(edge: Lineage) -> dict[str, Any]:
    return {
        "relation": edge.relation,
        "repo_id": edge.parent_repo_id,
        "commit_hash": edge.parent_commit.commit_hash if edge.parent_commit else None,
        "declared_by": edge.evidence,
    }
