"""One recipe on one commit, tensor by tensor, into the blob store.

Order: plan the whole file, write it slab by slab into a staged object, promote it under its own sha256, then blob,
artifact, event and the validation job in one transaction. A killed worker is continued at the byte where its staged
object ends. The same commit and recipe give the same bytes, however often the work was interrupted.

What a crash of the machine (not just of the worker) may have left beyond the last checkpoint is not trusted: those
ranges are made again and compared with what is stored before anything is recorded.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.errors import HeaderError
from conversion.naming import NamingError
from conversion.naming.file_types import FileType, file_type_by_name
from conversion.naming.plan import Plan
from conversion.naming.slabs import file_pieces
from conversion.quants import QuantError
from conversion.recipes import CONVERTER, artifact_path, digest_of, recipe_row, wanted_recipes
from conversion.source import plan_conversion, work_folder
from conversion.validation import submit_validation
from mirror.blobs import BlobStore
from mirror.blobs.directory import DirectoryStore
from mirror.blobs.keys import blob_key
from mirror.blobs.store import Staged, StagedBusy, StoreError
from mirror.store import blob_store
from registry import work
from registry.models import Artifact, Blob, Commit, Event, Job
from registry.work import Again, JobFailed, Lease, submit

AGENT = CONVERTER
CHECKPOINT_BYTES = 16 * 2**20
"""How much work a killed machine may lose."""

BUSY_SECONDS = 2.0


class _SliceOver(Exception):  # an expected end of a slice, not an error
    """This worker must stop; the job goes on elsewhere."""


def submit_conversion(
    commit: Commit, file_type: FileType, *, created_by: str = "", send_nudge: bool = True
) -> Job:
    """The one unfinished job that makes this artifact. Idempotent."""
    label = f"convert {commit.repo.repo_id}@{commit.commit_hash[:8]} to {file_type.name}"
    params = {
        "commit": commit.pk, "recipe": file_type.name,
        "repo_id": commit.repo.repo_id, "commit_hash": commit.commit_hash,
    }  # fmt: skip
    key = f"{commit.pk}:{digest_of(file_type)}"
    return submit(
        "convert", key=key, label=label[:300], params=params, repo=commit.repo, created_by=created_by,
        send_nudge=send_nudge,
    )  # fmt: skip


def submit_wanted(commit: Commit) -> list[Job]:
    """One job for every recipe that the policy wants of this commit and that is not made yet. Idempotent."""
    commit.refresh_from_db(fields=["facts"])  # inspection has just written them
    made = set(Artifact.objects.filter(source=commit).values_list("recipe__digest", flat=True))
    return [submit_conversion(commit, kind) for kind in wanted_recipes(commit) if digest_of(kind) not in made]


def convert_commit(lease: Lease) -> dict[str, Any] | Again:
    """The artifact is in the store and recorded as unvalidated, and its validation is queued.

    Returns what was made (also "it was there already"), or Again when the slice is over. Raises JobFailed, with the
    code of whatever refused the checkpoint; then there is no artifact.
    """
    commit = Commit.objects.select_related("repo").filter(pk=lease.params["commit"]).first()
    if commit is None:
        return {"artifact": None, "reason": "the commit is gone"}
    name = f"{commit.repo.repo_id}@{commit.commit_hash[:8]}"
    try:
        return _Conversion(lease, commit, file_type_by_name(str(lease.params["recipe"])), blob_store()).run()
    except _SliceOver:
        return Again(0, "the slice is over")
    except StagedBusy as busy:
        return Again(BUSY_SECONDS, str(busy), busy.code)
    except (HeaderError, NamingError, QuantError) as error:
        raise JobFailed(error.code, f"{name}: {error}") from error
    except StoreError as error:
        code = "no-space" if error.code == "out-of-space" else error.code
        retryable = error.retryable and code != "no-space"
        raise JobFailed(code, f"{lease.job.label}: {error}", retryable=retryable) from error


def refuse_when_full(store: BlobStore, needed_bytes: int, path: str) -> None:
    """Raises JobFailed `no-space` before the first byte when a directory store has no room for all of them."""
    if not isinstance(store, DirectoryStore):
        return
    store.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(store.root).free
    if needed_bytes > free:
        raise JobFailed(
            "no-space",
            f"{path} needs {needed_bytes:,} bytes more, but only {free:,} are free under {store.root}. "
            "Make room and retry the job; nothing was written.",
        )


@dataclass
class _Conversion:
    """One slice of a convert job.

    Between slices the job's checkpoint keeps: `durable`, the bytes the store has promised to keep; `suspect`, ranges
    that were found beyond that; `seconds` of work so far.
    """

    lease: Lease
    commit: Commit
    file_type: FileType
    store: BlobStore
    durable: int = 0
    suspect: list[list[int]] = field(default_factory=list)
    seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def run(self) -> dict[str, Any]:
        recipe = digest_of(self.file_type)
        if made := Artifact.objects.filter(source=self.commit, recipe__digest=recipe).first():
            return self._result(made, already_there=True)
        saved = self.lease.saved
        self.durable, self.seconds = saved.get("durable", 0), saved.get("seconds", 0.0)
        self.suspect = list(saved.get("suspect", []))
        self.lease.progress(0, None, "plan")
        with work_folder(f"convert-{self.lease.job.pk}") as folder:
            plan, checkpoint = plan_conversion(self.store, self.commit, self.file_type, folder)
            sha256 = self._make(plan, checkpoint, f"convert-{self.commit.commit_hash}-{recipe[:32]}")
        self.lease.progress(plan.layout.size_bytes, plan.layout.size_bytes, "record")
        return self._record(sha256, plan.layout.size_bytes)

    # --- bytes --------------------------------------------------------------------------------------------

    def _make(self, plan: Plan, checkpoint: Checkpoint, name: str) -> str:
        """The whole file is in the store under the sha256 that is returned."""
        size_bytes = plan.layout.size_bytes
        with self.store.stage(name) as staged:
            if staged.size_bytes > size_bytes:
                raise JobFailed(
                    "staged-too-long",
                    f"incoming/{name} has {staged.size_bytes} bytes, but the artifact only {size_bytes}. "
                    "Discard it and retry.",
                )
            refuse_when_full(
                self.store, size_bytes - staged.size_bytes, artifact_path(self.commit, self.file_type)
            )
            self._distrust(staged.size_bytes)
            self._write(plan, checkpoint, staged)
            digests = staged.finish(partial(self._show_storing, size_bytes))
            key = blob_key(digests.sha256)
            self.store.promote(staged, key, sha256=digests.sha256, size_bytes=size_bytes)
        self._check_suspects(plan, checkpoint, key, digests.sha256)
        return digests.sha256

    def _distrust(self, position: int) -> None:
        if position > self.durable:
            self.suspect.append([self.durable, position])
            self.durable = position
            self._save()
        elif position < self.durable:  # the staged bytes were swept; what is made now is fresh
            self.suspect = [[first, min(last, position)] for first, last in self.suspect if first < position]
            self.durable = position

    def _write(self, plan: Plan, checkpoint: Checkpoint, staged: Staged) -> None:
        """A slice goes on beyond its end until something is durable, or a slow store would never see the last byte."""
        size_bytes, began_at = plan.layout.size_bytes, self.durable
        for piece in file_pieces(plan, checkpoint, staged.size_bytes):
            staged.write(piece.data)
            self.lease.progress(staged.size_bytes, size_bytes, "convert")
            stop = self.lease.should_stop()
            if stop or staged.size_bytes - self.durable >= CHECKPOINT_BYTES:
                self.durable = staged.checkpoint()
                self._save()
            if stop and (self.durable > began_at or work.stopping.is_set()):
                raise _SliceOver

    def _show_storing(self, size_bytes: int, hashed_bytes: int) -> None:
        """Hashing again what an earlier slice staged begins from the front, so the end of a slice does not stop it."""
        self.lease.progress(size_bytes, size_bytes, "store")
        if self.lease.should_stop() and work.stopping.is_set():
            raise _SliceOver

    def _check_suspects(self, plan: Plan, checkpoint: Checkpoint, key: str, sha256: str) -> None:
        for first, last in self.suspect:
            made = (piece.data for piece in file_pieces(plan, checkpoint, first, last))
            if not _is_stored(self.store, key, first, made):
                self._start_over(key, sha256)

    def _start_over(self, key: str, sha256: str) -> None:
        """A crash of the machine left bytes that nobody wrote: they are thrown away, and the job begins anew."""
        if not Blob.objects.filter(sha256=sha256).exists():
            self.store.delete(key)
        self.lease.checkpoint({})
        raise JobFailed(
            "staged-bytes-damaged",
            f"{self.lease.job.label}: bytes staged before a crash were not what had been written. They were removed, "
            "and the conversion starts again.",
            retryable=True,
        )

    def _save(self) -> None:
        now = time.monotonic()
        self.seconds, self._began = self.seconds + now - self._began, now
        self.lease.checkpoint({"durable": self.durable, "suspect": self.suspect, "seconds": self.seconds})

    # --- rows ---------------------------------------------------------------------------------------------

    def _record(self, sha256: str, size_bytes: int) -> dict[str, Any]:
        seconds = self.seconds + time.monotonic() - self._began
        with transaction.atomic():
            self.lease.guard()
            blob = self._blob(sha256, size_bytes)
            artifact, is_new = Artifact.objects.get_or_create(
                recipe=recipe_row(self.file_type), source=self.commit,
                defaults={
                    "path": artifact_path(self.commit, self.file_type), "blob": blob, "seconds": seconds,
                },
            )  # fmt: skip
            if is_new:
                self._note(artifact)
                submit_validation(artifact, created_by=self.lease.job.created_by)
        return self._result(artifact, already_there=not is_new)

    def _blob(self, sha256: str, size_bytes: int) -> Blob:
        now = timezone.now()
        blob, is_new = Blob.objects.get_or_create(
            sha256=sha256, defaults={"size_bytes": size_bytes, "store": self.store.name, "verified_at": now}
        )
        if not is_new and blob.state != Blob.State.PRESENT:
            blob.state, blob.verified_at = Blob.State.PRESENT, now
            blob.save(update_fields=["state", "verified_at"])
        return blob

    def _note(self, artifact: Artifact) -> None:
        source = f"{self.commit.repo.repo_id}@{self.commit.commit_hash[:8]}"
        Event.objects.create(
            type=Event.Type.MIGRATION, agent=AGENT, repo=self.commit.repo, commit=self.commit,
            blob=artifact.blob, artifact=artifact,
            summary=f"converted {source} to {artifact.path}, {artifact.blob.size_bytes:,} bytes"[:500],
            detail={
                "recipe": artifact.recipe.content, "recipe_digest": artifact.recipe.digest,
                "commit": self.commit.commit_hash, "sha256": artifact.blob.sha256, "job": self.lease.job.pk,
            },
        )  # fmt: skip

    def _result(self, artifact: Artifact, *, already_there: bool) -> dict[str, Any]:
        return {
            "artifact": artifact.pk, "path": artifact.path, "recipe": self.file_type.name,
            "repo_id": self.commit.repo.repo_id, "commit": self.commit.commit_hash,
            "sha256": artifact.blob.sha256, "size_bytes": artifact.blob.size_bytes,
            "seconds": artifact.seconds, "already_there": already_there,
        }  # fmt: skip


def _is_stored(store: BlobStore, key: str, start: int, pieces: Iterator[bytes]) -> bool:
    for piece in pieces:
        if store.read(key, start, len(piece)) != piece:
            return False
        start += len(piece)
    return True
