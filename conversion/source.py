"""A commit's checkpoint as a converter reads it: weights by ranges from the store, small files from a folder."""

from functools import partial
from pathlib import Path

from conversion.formats.checkpoint import Checkpoint, open_checkpoint
from conversion.formats.source import RangeSource
from conversion.naming import NamingError
from conversion.naming.file_types import FileType
from conversion.naming.plan import SIDE_FILES, Plan, in_reference_order, plan_gguf
from conversion.reference import place_blob
from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from registry.models import Commit

MAX_SIDE_FILE_BYTES = 256 * 2**20


def open_source(store: BlobStore, commit: Commit, folder: Path) -> Checkpoint:
    """The commit's weights, read by ranges from the store; its SIDE_FILES are in `folder`. One query.

    The folder's name becomes the model's, so it should be the repo's. Raises HeaderError and NamingError.
    """
    files = {file.path: file for file in commit.files.select_related("blob") if "/" not in file.path}
    for name in SIDE_FILES:
        if file := files.get(name):
            if file.size_bytes > MAX_SIDE_FILE_BYTES:
                raise NamingError(
                    "side-file-large",
                    f"{name} has {file.size_bytes} bytes; at most {MAX_SIDE_FILE_BYTES} are read.",
                )
            place_blob(store, file.blob, folder / name)
    return open_checkpoint({
        path: RangeSource(file.size_bytes, partial(store.read, blob_key(file.blob.sha256)))
        for path, file in files.items()
        if path.endswith((".safetensors", ".safetensors.index.json"))
    })  # fmt: skip


def plan_conversion(
    store: BlobStore, commit: Commit, file_type: FileType, folder: Path
) -> tuple[Plan, Checkpoint]:
    """The artifact planned to its last byte, and the checkpoint that fills it; nothing is written but side files."""
    home = folder / commit.repo.name
    home.mkdir()
    checkpoint = open_source(store, commit, home)
    return plan_gguf(in_reference_order(checkpoint), home, file_type), checkpoint
