"""A recipe gives the same bytes again: seen piece by piece, relied on when an artifact's bytes are let go.

`reproduce` makes an artifact again and compares every byte with what is stored. `evict` gives the room back: the row
stays, the object goes, and whoever asks for the file queues a `rebuild`, which puts the very same bytes back or fails.
"""

from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from conversion.convert import (
    BUSY_SECONDS,
    SliceOver,
    present_blob,
    refusals_as_failures,
    refuse_when_full,
    staged_name,
    write_outputs,
)
from conversion.naming.slabs import file_pieces
from conversion.output import Output
from conversion.recipes import Choice
from conversion.source import plan_conversion
from conversion.workplace import work_folder
from mirror.blobs.keys import blob_key
from mirror.blobs.store import StagedBusy
from mirror.store import blob_store
from registry.models import Artifact, Blob, Event, File, Job
from registry.work import Again, JobFailed, Lease, submit

AGENT = "holdfast reproduction"
CHECKPOINT_BYTES = 256 * 2**20
PROOF_LASTS = timedelta(days=90)
"""How old a reproduction may be for its artifact to be let go."""


class NotEvictable(Exception):
    """The bytes must stay; `code` is stable, the message says why and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def submit_reproduction(artifact: Artifact, *, created_by: str = "", send_nudge: bool = True) -> Job:
    """The one unfinished job that makes the artifact again and compares. Idempotent."""
    source = artifact.source
    return submit(
        "reproduce", key=str(artifact.pk), repo=source.repo, created_by=created_by, send_nudge=send_nudge,
        label=f"reproduce {artifact.path} of {source.repo.repo_id}@{source.commit_hash[:8]}"[:300],
        params={"artifact": artifact.pk, "repo_id": source.repo.repo_id, "commit_hash": source.commit_hash},
    )  # fmt: skip


def reproduce_artifact(lease: Lease) -> dict[str, Any] | Again:
    """Every byte of the artifact was made again from its source and is what the store has; its row says when.

    Goes on where the last checkpoint was. Raises JobFailed `not-reproducible`, naming the first tensor that differs,
    and `bytes-unavailable` when there is nothing to compare with.
    """
    artifact = _load(lease)
    if artifact is None:
        return {"artifact": None, "reason": "the artifact is gone"}
    if artifact.blob.state != Blob.State.PRESENT:
        raise JobFailed(
            "bytes-unavailable",
            f"{artifact.path} is {artifact.blob.state}, so there is nothing to compare with. An evicted artifact is "
            "rebuilt when somebody asks for it, and that compares its sha256.",
        )
    with refusals_as_failures(artifact.path), work_folder(f"reproduce-{artifact.pk}") as folder:
        choice = Choice.from_content(artifact.recipe.content)
        store, key, size_bytes = blob_store(), blob_key(artifact.blob.sha256), artifact.blob.size_bytes
        plan, weights = plan_conversion(store, artifact.source, choice, folder)
        if plan.layout.size_bytes != size_bytes:
            _differs(artifact, f"it would have {plan.layout.size_bytes:,} bytes, not {size_bytes:,}")
        position = saved = int(lease.saved.get("compared", 0))
        for piece in file_pieces(plan, weights, position):
            if store.read(key, position, len(piece.data)) != piece.data:
                _differs(artifact, f"the bytes at {position:,} differ, in {piece.tensor or 'its header'}")
            position += len(piece.data)
            lease.progress(position, size_bytes, "compare")
            if (stop := lease.should_stop()) or position - saved > CHECKPOINT_BYTES:
                lease.checkpoint({"compared": (saved := position)})
            if stop:
                return Again(0, "the slice is over")
    return _record_proof(lease, artifact)


def evict_artifact(artifact: Artifact, *, by: str = "") -> int:
    """The bytes are gone from the store and can be made again; how many there were. Idempotent: 0 if gone already.

    Raises NotEvictable unless the artifact was reproduced lately, its source is whole, and nothing else needs the blob.
    Order: the row first, then the object; a crash between leaves an object that the next eviction removes.
    """
    with transaction.atomic():
        blob = Blob.objects.select_for_update().get(pk=artifact.blob_id)
        if blob.state != Blob.State.EVICTED:
            _check_evictable(artifact, blob)
            Blob.objects.filter(pk=blob.pk).update(state=Blob.State.EVICTED)
            Event.objects.create(
                type=Event.Type.DELETION, agent=by or AGENT, repo=artifact.source.repo, commit=artifact.source,
                blob=blob, artifact=artifact,
                summary=f"evicted {artifact.path}, {blob.size_bytes:,} bytes; its recipe makes them again"[:500],
                detail={"sha256": blob.sha256, "recipe_digest": artifact.recipe.digest},
            )  # fmt: skip
    store, key = blob_store(), blob_key(blob.sha256)
    was_there = store.stat(key) is not None
    store.delete(key)
    return blob.size_bytes if was_there else 0


def rebuild_artifact(lease: Lease) -> dict[str, Any] | Again:
    """The artifact's bytes are in the store again, under the sha256 they always had.

    Raises JobFailed `not-reproducible` if the recipe gave others; then nothing is stored.
    """
    artifact = _load(lease)
    if artifact is None or artifact.blob.state == Blob.State.PRESENT:
        return {"artifact": artifact and artifact.pk, "already_there": artifact is not None}
    try:
        with (
            refusals_as_failures(artifact.path),
            work_folder(f"rebuild-{artifact.pk}") as folder,
            ExitStack() as stack,
        ):
            choice, store = Choice.from_content(artifact.recipe.content), blob_store()
            plan, weights = plan_conversion(store, artifact.source, choice, folder)
            name = staged_name(artifact.source, choice)
            output = Output(choice, plan, store, stack.enter_context(store.stage(name)))
            output.resume(lease.saved, name)
            refuse_when_full(store, output.size_bytes - output.start, artifact.path)
            write_outputs(lease, [output], weights, lambda: lease.checkpoint(output.progress()))
            output.store_blob(weights, lambda n: None, expected=artifact.blob.sha256)
    except SliceOver:
        return Again(0, "the slice is over")
    except StagedBusy as busy:
        return Again(BUSY_SECONDS, str(busy), busy.code)
    with transaction.atomic():
        lease.guard()
        present_blob(blob_store(), artifact.blob.sha256, artifact.blob.size_bytes)
        _note(artifact, Event.Type.MIGRATION, f"rebuilt {artifact.path}: the very bytes that were evicted")
        Artifact.objects.filter(pk=artifact.pk).update(reproduced_at=timezone.now())
    return {"artifact": artifact.pk, "path": artifact.path, "sha256": artifact.blob.sha256,
            "size_bytes": artifact.blob.size_bytes, "already_there": False}  # fmt: skip


def _load(lease: Lease) -> Artifact | None:
    rows = Artifact.objects.select_related("blob", "recipe", "source__repo")
    return rows.filter(pk=lease.params["artifact"]).first()


def _differs(artifact: Artifact, how: str) -> None:
    _note(artifact, Event.Type.FIXITY, f"{artifact.path} is not reproducible: {how}", Event.Outcome.FAILURE)
    raise JobFailed(
        "not-reproducible",
        f"{artifact.path}: {how}. Audit the source and the artifact; if both are whole, the release that made it "
        "computed otherwise. The artifact is kept as it is.",
    )


def _record_proof(lease: Lease, artifact: Artifact) -> dict[str, Any]:
    with transaction.atomic():
        lease.guard()
        Artifact.objects.filter(pk=artifact.pk).update(reproduced_at=timezone.now())
        _note(artifact, Event.Type.FIXITY, f"reproduced {artifact.path} bit for bit from its source")
    return {"artifact": artifact.pk, "path": artifact.path, "sha256": artifact.blob.sha256,
            "size_bytes": artifact.blob.size_bytes, "identical": True}  # fmt: skip


def _note(artifact: Artifact, kind: str, summary: str, outcome: str = Event.Outcome.SUCCESS) -> None:
    Event.objects.create(
        type=kind, outcome=outcome, agent=AGENT, repo=artifact.source.repo, commit=artifact.source,
        blob=artifact.blob, artifact=artifact, summary=summary[:500],
        detail={"sha256": artifact.blob.sha256, "recipe_digest": artifact.recipe.digest},
    )  # fmt: skip


def _check_evictable(artifact: Artifact, blob: Blob) -> None:
    path, proof = artifact.path, artifact.reproduced_at
    if proof is None or proof < timezone.now() - PROOF_LASTS:
        raise NotEvictable(
            "not-reproduced",
            f"{path} was not reproduced in the last {PROOF_LASTS.days} days: manage.py reproduce {artifact.pk}",
        )
    if artifact.source.files.exclude(blob__state=Blob.State.PRESENT).exists():
        raise NotEvictable(
            "source-incomplete", f"the source of {path} is not whole: manage.py audit --repair"
        )
    elsewhere = File.objects.filter(blob=blob).exclude(commit__published_artifacts__blob=blob)
    mirrored = elsewhere.filter(commit__repo__upstream__isnull=False).first()
    if mirrored is not None:
        raise NotEvictable(
            "bytes-needed", f"{path} has the bytes of a mirrored file, {mirrored.path}; those are kept"
        )
    if Job.objects.unfinished().filter(params__artifact=artifact.pk).exists():
        raise NotEvictable("artifact-busy", f"a job works on {path}; wait for it, then evict")
