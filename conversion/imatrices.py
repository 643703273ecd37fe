"""Importance matrices of a commit: taken in from a file, or measured here, and kept as blobs that recipes name."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from conversion.formats.imatrix import Imatrix as ImatrixFile
from conversion.formats.imatrix import open_imatrix
from conversion.formats.source import FileSource
from conversion.headers import blob_source
from conversion.inference.importance import measure_importance, write_importance
from conversion.workplace import place_blob, work_folder
from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from registry.models import Artifact, Blob, Commit, Event, Imatrix

AGENT = "holdfast imatrix"
COPY_BYTES = 8 * 2**20


class NoImatrix(Exception):
    """There is none, or it cannot be made; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def take_in_imatrix(store: BlobStore, commit: Commit, path: Path, *, made_here: bool = False) -> Imatrix:
    """The file is a blob of the store and belongs to the commit. Idempotent. HeaderError `im-…` for what is none."""
    with FileSource(path) as source:
        found = open_imatrix(source, path.name)
    digest, size_bytes = _store(store, path)
    with transaction.atomic():
        blob, _ = Blob.objects.get_or_create(
            sha256=digest,
            defaults={"size_bytes": size_bytes, "store": store.name, "verified_at": timezone.now()},
        )
        row, is_new = Imatrix.objects.get_or_create(
            commit=commit, blob=blob,
            defaults={
                "name": path.name[:200], "dataset": ", ".join(found.datasets)[:300], "n_chunks": found.n_chunks,
                "n_entries": len(found.entries), "made_here": made_here,
            },
        )  # fmt: skip
        if is_new:
            _note(commit, row)
    return row


def measure_imatrix(
    store: BlobStore, artifact: Artifact, text: Path, *, threads: int, max_windows: int | None,
    on_window: Callable[[int, int], None] = lambda done, total: None,
) -> Imatrix:  # fmt: skip
    """What `text` does to the weights of an artifact becomes an importance matrix of the commit it was made from.

    Raises EngineError for what the engine refuses, NoImatrix for an artifact whose bytes are not here.
    """
    if artifact.blob.state != Blob.State.PRESENT:
        raise NoImatrix("blob-unavailable", f"{artifact.path} is {artifact.blob.get_state_display()}")
    with work_folder(f"imatrix-{artifact.pk}") as folder:
        model = folder / "model.gguf"
        place_blob(store, artifact.blob, model)
        measured = measure_importance(
            model,
            text.read_text("utf-8"),
            text.name,
            threads=threads,
            max_windows=max_windows,
            on_window=on_window,
        )
        path = folder / f"{artifact.source.repo.name}-{text.stem}.imatrix.gguf"
        write_importance(measured, path)
        return take_in_imatrix(store, artifact.source, path, made_here=True)


def find_imatrix(commit: Commit, text: str) -> Imatrix:
    """The importance matrix that a person means: `newest`, or the beginning of its sha256. NoImatrix lists them."""
    rows = list(Imatrix.objects.filter(commit=commit).select_related("blob"))
    if text == "newest" and rows:
        return rows[0]
    meant = [row for row in rows if len(text) >= 6 and row.blob.sha256.startswith(text.lower())]
    if len(meant) == 1:
        return meant[0]
    there = ", ".join(f"{row.blob.sha256[:12]} ({row.name})" for row in rows) or "none"
    raise NoImatrix(
        "imatrix-not-found",
        f"{text!r:.80} names no importance matrix of {commit.repo.repo_id}@{commit.commit_hash[:8]}; there: {there}."
        " Take one in with `manage.py imatrix`.",
    )


def open_stored_imatrix(store: BlobStore, digest: str) -> ImatrixFile:
    """The importance matrix with that sha256, read from the store by ranges. NoImatrix `imatrix-not-found`."""
    row = Imatrix.objects.filter(blob__sha256=digest).select_related("blob").order_by("pk").first()
    if row is None:
        raise NoImatrix(
            "imatrix-not-found", f"the recipe needs the importance matrix {digest[:12]}…, which is not here"
        )
    # Its name goes into the artifact, so it must follow from the recipe alone.
    return open_imatrix(blob_source(store, row.blob), f"{digest[:16]}.imatrix")


def _store(store: BlobStore, path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = sha256()
        while data := file.read(COPY_BYTES):
            digest.update(data)
        file.seek(0)
        with store.stage(f"imatrix-{digest.hexdigest()}") as staged:
            file.seek(staged.size_bytes)
            while data := file.read(COPY_BYTES):
                staged.write(data)
            digests = staged.finish()
            store.promote(
                staged, blob_key(digests.sha256), sha256=digests.sha256, size_bytes=digests.size_bytes
            )
    return digests.sha256, digests.size_bytes


def _note(commit: Commit, row: Imatrix) -> None:
    Event.objects.create(
        type=Event.Type.INGESTION, agent=AGENT, repo=commit.repo, commit=commit, blob=row.blob,
        summary=f"importance matrix {row.name} for {commit.repo.repo_id}@{commit.commit_hash[:8]}: "
                f"{row.n_entries} weights over {row.n_chunks} windows"[:500],
        detail={"sha256": row.blob.sha256, "dataset": row.dataset, "made_here": row.made_here},
    )  # fmt: skip
