"""Recipes on one commit, tensor by tensor, into the blob store: several artifacts in one pass over the weights.

Order: plan the whole files, write them slab by slab into staged objects, promote each under its own sha256, then blob,
artifact, event and the validation job in one transaction. A killed worker is continued at the byte where each staged
object ends. The same commit and recipe give the same bytes, however often the work was interrupted.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from conversion.formats.errors import HeaderError
from conversion.formats.weights import Weights
from conversion.imatrices import NoImatrix
from conversion.naming import NamingError
from conversion.naming.compiling import prepare_kernels
from conversion.naming.joint import joint_pieces
from conversion.naming.to_safetensors import SafetensorsPlan
from conversion.output import Output
from conversion.policies import wanted_recipes
from conversion.quants import QuantError
from conversion.recipes import CONVERTER, Choice
from conversion.source import plan_conversions
from conversion.workplace import work_folder
from mirror.blobs import BlobStore
from mirror.blobs.directory import DirectoryStore
from mirror.blobs.store import StagedBusy, StoreError
from mirror.store import blob_store
from registry import work
from registry.incomplete import CommitIncomplete, refuse_incomplete
from registry.models import Artifact, Blob, Commit, Event, Job, Recipe
from registry.validating import request_validation
from registry.work import Again, JobFailed, Lease, submit

AGENT = CONVERTER
BUSY_SECONDS = 2.0
MAX_TOGETHER = 32
"""Artifacts of one job; each has a staged object of its own open."""


REFUSALS = (CommitIncomplete, HeaderError, NamingError, NoImatrix, QuantError)
"""What a checkpoint, a recipe or its bytes may be refused with."""


class SliceOver(Exception):  # an expected end of a slice, not an error
    """This worker must stop; the job goes on elsewhere."""


def submit_conversion(commit: Commit, *choices: Choice, created_by: str = "", send_nudge: bool = True) -> Job:
    """The one unfinished job that makes these artifacts. Idempotent. All must have the same source in the commit."""
    names = ", ".join(choice.name for choice in choices)
    digests = [choice.row().digest for choice in choices]
    params = {
        "commit": commit.pk, "recipe": names, "recipes": digests,
        "repo_id": commit.repo.repo_id, "commit_hash": commit.commit_hash,
    }  # fmt: skip
    label = f"convert {commit.repo.repo_id}@{commit.commit_hash[:8]} to {names}"
    key = f"{commit.pk}:{','.join(sorted(digest[:16] for digest in digests))}"[:300]
    return submit(
        "convert", key=key, label=label[:300], params=params, repo=commit.repo, created_by=created_by,
        send_nudge=send_nudge,
    )  # fmt: skip


def submit_wanted(commit: Commit) -> list[Job]:
    """A job for what the policies want of this commit and is not made yet; [] for nothing. Idempotent."""
    commit.refresh_from_db()  # inspection has just written its facts
    made = set(Artifact.objects.filter(source=commit).values_list("recipe__digest", flat=True))
    missing = [choice for choice in wanted_recipes(commit) if choice.digest not in made]
    return [submit_conversion(commit, *missing)] if missing else []


def convert_commit(lease: Lease) -> dict[str, Any] | Again:
    """The artifacts are in the store and recorded as unvalidated, and their validation is queued.

    Returns what was made (also "it was there already"), or Again when the slice is over. Raises JobFailed, with the
    code of whatever refused the checkpoint; then there is no artifact.
    """
    commit = Commit.objects.select_related("repo").filter(pk=lease.params["commit"]).first()
    if commit is None:
        return {"artifacts": [], "reason": "the commit is gone"}
    with refusals_as_failures(f"{commit.repo.repo_id}@{commit.commit_hash[:8]}"):
        refuse_incomplete(commit)
        recipes = Recipe.objects.in_bulk(lease.params["recipes"], field_name="digest")
        choices = [Choice.from_content(recipes[digest].content) for digest in lease.params["recipes"]]
        try:
            return _Conversion(lease, commit, choices, blob_store()).run()
        except SliceOver:
            return Again(0, "the slice is over")
        except StagedBusy as busy:
            return Again(BUSY_SECONDS, str(busy), busy.code)


@contextmanager
def refusals_as_failures(subject: str) -> Iterator[None]:
    """What refuses a checkpoint, a recipe or bytes ends the job, with the same code and the subject's name."""
    try:
        yield
    except REFUSALS as error:
        raise JobFailed(error.code, f"{subject}: {error}") from error
    except StoreError as error:
        code = "no-space" if error.code == "out-of-space" else error.code
        retryable = error.retryable and code != "no-space"
        raise JobFailed(code, f"{subject}: {error}", retryable=retryable) from error


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


def staged_name(commit: Commit, choice: Choice) -> str:
    """Where in incoming/ an artifact is staged: the same for whoever makes it, so that only one does at a time."""
    return f"convert-{commit.commit_hash}-{choice.digest[:32]}"


def write_outputs(lease: Lease, outputs: list[Output], weights: Weights, save: Callable[[], None]) -> None:
    """Every output is written to its end. Raises SliceOver when this worker must stop and something is durable.

    A slice goes on beyond its end until something is durable, or a slow store would never see the last byte.
    """
    total = sum(output.size_bytes for output in outputs)
    began_at = sum(output.durable for output in outputs)
    starts = [output.start for output in outputs]
    done = sum(starts)
    for part in joint_pieces([output.plan for output in outputs], weights, starts):
        is_due = outputs[part.file].write(part.piece.data)
        done += len(part.piece.data)
        lease.progress(done, total, "convert")
        if (stop := lease.should_stop()) or is_due:
            for output in outputs if stop else [outputs[part.file]]:
                output.make_durable()
            save()
        if stop and (sum(output.durable for output in outputs) > began_at or work.stopping.is_set()):
            raise SliceOver


@dataclass
class _Conversion:
    """One slice of a convert job.

    Between slices the job's checkpoint keeps: `files`, by recipe what `Output.progress` says; `seconds` of work so far.
    """

    lease: Lease
    commit: Commit
    choices: list[Choice]
    store: BlobStore
    outputs: list[Output] = field(default_factory=list)
    seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def run(self) -> dict[str, Any]:
        rows = Artifact.objects.filter(source=self.commit).select_related("blob", "recipe")
        made = {artifact.recipe.digest: artifact for artifact in rows}
        missing = [choice for choice in self.choices if choice.digest not in made]
        self.seconds = self.lease.saved.get("seconds", 0.0)
        results = {digest: self._told(artifact, already_there=True) for digest, artifact in made.items()}
        if missing:
            try:
                results |= self._make_together(missing)
            except REFUSALS:
                results |= self._make_one_by_one(missing)
        return self._result([results[choice.digest] for choice in self.choices])

    def _make_one_by_one(self, missing: list[Choice]) -> dict[str, dict[str, Any]]:
        """A recipe that is refused does not take the others with it. Raises the first refusal, after all were tried."""
        results: dict[str, dict[str, Any]] = {}
        refusals: list[Exception] = []
        for choice in missing:
            try:
                results |= self._make_together([choice])
            except REFUSALS as error:
                refusals.append(error)
        if refusals:
            raise refusals[0]
        return results

    def _make_together(self, missing: list[Choice]) -> dict[str, dict[str, Any]]:
        self.lease.progress(0, None, "plan")
        self.outputs = []
        with work_folder(f"convert-{self.lease.job.pk}") as folder, ExitStack() as stack:
            return self._make(missing, folder, stack)

    def _make(self, missing: list[Choice], folder: Path, stack: ExitStack) -> dict[str, dict[str, Any]]:
        plans, weights = plan_conversions(self.store, self.commit, missing, folder)
        saved = self.lease.saved.get("files", {})
        for choice, plan in zip(missing, plans, strict=True):
            name = staged_name(self.commit, choice)
            output = Output(choice, plan, self.store, stack.enter_context(self.store.stage(name)))
            output.resume(saved.get(choice.digest, {}), name)
            self.outputs.append(output)
        needed = sum(output.size_bytes - output.start for output in self.outputs)
        refuse_when_full(self.store, needed, ", ".join(choice.path(self.commit) for choice in missing))
        self._save()
        prepare_kernels(plans, weights, lambda said: self.lease.progress(0, None, said[:60]))
        write_outputs(self.lease, self.outputs, weights, self._save)
        total = sum(output.size_bytes for output in self.outputs)
        try:
            digests = [output.store_blob(weights, lambda n: self._storing(total)) for output in self.outputs]
        except JobFailed:
            self.lease.checkpoint({})
            raise
        self.lease.progress(total, total, "record")
        return self._record(digests)

    def _storing(self, total: int) -> None:
        """Hashing again what an earlier slice staged begins from the front, so the end of a slice does not stop it."""
        self.lease.progress(total, total, "store")
        if self.lease.should_stop() and work.stopping.is_set():
            raise SliceOver

    def _save(self) -> None:
        now = time.monotonic()
        self.seconds, self._began = self.seconds + now - self._began, now
        files = {output.choice.digest: output.progress() for output in self.outputs}
        self.lease.checkpoint({"files": files, "seconds": self.seconds})

    # --- rows ---------------------------------------------------------------------------------------------

    def _record(self, digests: list[str]) -> dict[str, dict[str, Any]]:
        """One transaction: blobs, artifacts, events, and a validation job for each that is new."""
        seconds = (self.seconds + time.monotonic() - self._began) / len(digests)
        told = {}
        with transaction.atomic():
            self.lease.guard()
            for output, sha256 in zip(self.outputs, digests, strict=True):
                blob = present_blob(self.store, sha256, output.size_bytes)
                artifact, is_new = Artifact.objects.get_or_create(
                    recipe=output.choice.row(), source=self.commit,
                    defaults={"path": output.choice.path(self.commit), "blob": blob, "seconds": seconds},
                )  # fmt: skip
                if is_new:
                    self._note(artifact)
                    request_validation(artifact, created_by=self.lease.job.created_by)
                told[output.choice.digest] = self._told(artifact, already_there=not is_new)
                if isinstance(output.plan, SafetensorsPlan) and output.plan.said:
                    told[output.choice.digest]["said"] = list(output.plan.said)
        return told

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

    def _told(self, artifact: Artifact, *, already_there: bool) -> dict[str, Any]:
        return {
            "artifact": artifact.pk, "path": artifact.path, "recipe": artifact.recipe.name,
            "sha256": artifact.blob.sha256, "size_bytes": artifact.blob.size_bytes,
            "seconds": artifact.seconds, "already_there": already_there,
        }  # fmt: skip

    def _result(self, artifacts: list[dict[str, Any]]) -> dict[str, Any]:
        """One artifact is told as such, too: that is what most jobs make."""
        source = {
            "repo_id": self.commit.repo.repo_id,
            "commit": self.commit.commit_hash,
            "artifacts": artifacts,
        }
        return source | (artifacts[0] if len(artifacts) == 1 else {})


def present_blob(store: BlobStore, sha256: str, size_bytes: int) -> Blob:
    """The row of bytes that were just stored and hashed."""
    now = timezone.now()
    blob, is_new = Blob.objects.get_or_create(
        sha256=sha256, defaults={"size_bytes": size_bytes, "store": store.name, "verified_at": now}
    )
    if not is_new and blob.state != Blob.State.PRESENT:
        blob.state, blob.verified_at = Blob.State.PRESENT, now
        blob.save(update_fields=["state", "verified_at"])
    return blob
