"""Headers of a mirrored commit -> Tensor rows; its own small files -> what the catalog says of it.

Nothing here decides whether a commit is served: it is, whatever its headers say. A hostile header is written down with
the precise reason, in its Header row and as an Event, so that a page can label the file and no engine opens it.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.utils import timezone

from conversion.convert import submit_wanted
from conversion.facts import SMALL_FILES, Facts, gather_facts
from conversion.formats import gguf
from conversion.formats.checkpoint import INDEX_SUFFIX, open_checkpoint
from conversion.formats.errors import HeaderError
from conversion.formats.gguf import GgufHeader
from conversion.headers import blob_source, format_of, inspect_blob, may_have_header
from conversion.lineage import adopt_children, record_declared
from mirror.blobs import BlobStore
from mirror.blobs.errors import StoreError
from mirror.blobs.keys import blob_key
from mirror.store import blob_store
from registry.models import Blob, Commit, Event, File, Header, Tensor
from registry.validating import request_children, request_mirrored
from registry.work import Again, JobFailed, Lease

AGENT = "holdfast inspection"

NO_SINGLE_CHECKPOINT = {"ck-empty", "ck-ambiguous"}
"""Not a fault: a repo may hold no safetensors at its top, or several models side by side."""

_SHARD = re.compile(r"-\d{5}-of-(\d{5})(\.gguf|\.bin)$", re.IGNORECASE)


def inspect_commit(lease: Lease) -> dict[str, Any] | Again | None:
    """Every header of the commit is in the catalog, and so is what the commit says of itself.

    The job's `commit` is a primary key. Idempotent; stops between files when its slice is over and goes on from what
    is recorded. Raises JobFailed when the store cannot give the bytes.
    """
    commit = Commit.objects.select_related("repo").filter(pk=lease.params["commit"]).first()
    if commit is None:
        return {"commit": None, "reason": "the commit is gone"}
    store = blob_store()
    try:
        if not _read_headers(lease, store, commit):
            return Again(reason="more headers to read")
        lease.progress(commit.size_bytes, commit.size_bytes, "record")
        return _record(lease, store, commit)
    except (StoreError, HeaderError) as error:
        # A HeaderError here means that bytes changed between two reads of a header that was fine.
        raise JobFailed(error.code, str(error), retryable=error.retryable) from error


def _read_headers(lease: Lease, store: BlobStore, commit: Commit) -> bool:
    """True when every header was read; False when the slice was over before."""
    n_bytes = 0
    for file in weight_files(commit):
        if lease.should_stop():
            return False
        lease.progress(n_bytes, commit.size_bytes, "read")
        format_name = format_of(file.path, blob_source(store, file.held))
        header = inspect_blob(lease, store, file.held, format_name) if format_name else None
        if header is not None and header.error_code:
            _note_refusal(
                lease,
                commit,
                path=file.path,
                code=header.error_code,
                message=header.error_message,
                blob=file.held,
            )
        n_bytes += file.size_bytes
    return True


def weight_files(commit: Commit) -> list[File]:
    """The files that may have a header, by path, each with its blob. One query."""
    files = commit.files.select_related("blob").order_by("path")
    return [file for file in files if may_have_header(file.path)]


def _record(lease: Lease, store: BlobStore, commit: Commit) -> dict[str, Any]:
    """One transaction: the commit's facts, its declared lineage, an event. Returns the job's result."""
    files = list(commit.files.select_related("blob__header").order_by("path"))
    facts = _facts(store, commit, files)
    weights, problem = _chosen_weights(store, files)
    counts = parameters_by_dtype(weights)
    result = _result(commit, files, counts)
    with transaction.atomic():
        lease.guard()
        is_news = _save(commit, facts, counts, weights, problem)
        result["n_parents"] = record_declared(commit, facts.base_models, facts.relation)
        adopt_children(commit.repo)
        if is_news:
            _note(commit, result)
            submit_wanted(commit)
            request_mirrored(commit)
            request_children(commit.repo)
    if problem is not None:
        _note_refusal(lease, commit, path="the checkpoint", code=problem.code, message=str(problem))
    return result


def _facts(store: BlobStore, commit: Commit, files: list[File]) -> Facts:
    small = {
        file.path: store.read(blob_key(file.held.sha256), 0, min(file.size_bytes, SMALL_FILES[file.path]))
        for file in files
        if file.path in SMALL_FILES
    }
    return gather_facts(
        small, [file.path for file in files], _gguf_header(store, files), commit.upstream_info
    )


def _gguf_header(store: BlobStore, files: list[File]) -> GgufHeader | None:
    """The header that speaks for the commit's GGUF files: of the one with most tensors, first by path."""
    readable = [file for file in files if _is_readable(file, "gguf")]
    if not readable:
        return None
    main = max(readable, key=lambda file: file.held.header.n_tensors)
    return gguf.read_header(blob_source(store, main.held))


def _chosen_weights(store: BlobStore, files: list[File]) -> tuple[list[File], HeaderError | None]:
    """The files whose tensors are the model, and what is wrong with the checkpoint they should form.

    The checkpoint at the top of the commit if it has one; else every safetensors file, each blob once; else of the GGUF
    files, or else of PyTorch's, or else of llama2.c's, the one that has the most parameters, with its parts if it is
    split: the others are the same model in other types.
    """
    problem = None
    try:
        top = {file.path: file for file in files if "/" not in file.path and _is_checkpoint_file(file.path)}
        paths = open_checkpoint({path: blob_source(store, file.held) for path, file in top.items()}).paths
        return [top[path] for path in paths], None
    except HeaderError as error:
        # A header's own fault has been noted with its file already.
        problem = error if error.code.startswith("ck-") and error.code not in NO_SINGLE_CHECKPOINT else None
    once = {file.blob_id: file for file in files if _is_readable(file, "safetensors")}
    largest = (_largest(files, name) for name in ("gguf", "pytorch", "llama2c"))
    return list(once.values()) or next(filter(None, largest), []), problem


def _largest(files: list[File], format_name: str) -> list[File]:
    models: dict[str, list[File]] = {}
    for file in files:
        if _is_readable(file, format_name):
            models.setdefault(_SHARD.sub(r"-of-\1\2", file.path), []).append(file)
    return max(
        models.values(), key=lambda parts: sum(file.held.header.parameter_count for file in parts), default=[]
    )


def parameters_by_dtype(files: Iterable[File]) -> dict[str, int]:
    """Elements of each dtype in these files' tensors. One query; memory does not grow with the tensors."""
    counts: dict[str, int] = {}
    rows = Tensor.objects.filter(blob__in=[file.blob_id for file in files]).order_by()
    for dtype, shape in rows.values_list("dtype", "shape").iterator():
        counts[dtype] = counts.get(dtype, 0) + math.prod(shape)
    return counts


def _save(
    commit: Commit, facts: Facts, counts: dict[str, int], weights: list[File], problem: HeaderError | None
) -> bool:
    """The commit's row says what was found; True if it had never said so before."""
    details = facts.details | {
        "parameters": counts,
        "n_tensors": sum(file.held.header.n_tensors for file in weights),
    }
    if problem is not None:
        details["checkpoint_refused"] = {"code": problem.code, "message": str(problem)}
    is_news = commit.inspected_at is None or commit.facts != details
    Commit.objects.filter(pk=commit.pk).update(
        inspected_at=timezone.now(), architecture=facts.architecture, context_length=facts.context_length,
        parameter_count=sum(counts.values()) or None, license=facts.license, pipeline_tag=facts.pipeline_tag,
        library_name=facts.library_name, tags=facts.tags, card=facts.card.text, card_data=facts.card.data,
        facts=details,
    )  # fmt: skip
    return is_news


def _result(commit: Commit, files: list[File], counts: dict[str, int]) -> dict[str, Any]:
    headers = [header for file in files if (header := _header(file)) is not None]
    return {
        "repo_id": commit.repo.repo_id,
        "commit": commit.commit_hash,
        "n_headers": len(headers),
        "n_refused": sum(1 for header in headers if header.error_code),
        "n_tensors": sum(header.n_tensors for header in headers),
        "parameter_count": sum(counts.values()),
    }


def _note(commit: Commit, result: dict[str, Any]) -> None:
    Event.objects.create(
        type=Event.Type.METADATA, agent=AGENT, repo=commit.repo, commit=commit, detail=result,
        outcome=Event.Outcome.WARNING if result["n_refused"] else Event.Outcome.SUCCESS,
        summary=f"inspected {_name(commit)}: headers {result['n_headers']}, refused {result['n_refused']}, "
                f"tensors {result['n_tensors']}"[:500],
    )  # fmt: skip


def _note_refusal(
    lease: Lease, commit: Commit, *, path: str, code: str, message: str, blob: Blob | None = None
) -> None:
    """One event for each refusal of a commit, however often it is inspected."""
    with transaction.atomic():
        lease.guard()
        if Event.objects.filter(commit=commit, detail__path=path, detail__code=code).exists():
            return
        Event.objects.create(
            type=Event.Type.METADATA, outcome=Event.Outcome.FAILURE, agent=AGENT, repo=commit.repo, commit=commit,
            blob=blob, detail={"path": path, "code": code, "message": message},
            summary=f"{_name(commit)} {path}: header refused, {code}: {message}. The file is kept and served."[:500],
        )  # fmt: skip


def _name(commit: Commit) -> str:
    return f"{commit.repo.repo_id}@{commit.commit_hash[:8]}"


def _is_checkpoint_file(path: str) -> bool:
    return path.endswith((".safetensors", INDEX_SUFFIX))


def _is_readable(file: File, format_name: str) -> bool:
    header = _header(file)
    return header is not None and header.format == format_name and not header.error_code


def _header(file: File) -> Header | None:
    return getattr(file.held, "header", None)
