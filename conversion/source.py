"""A commit's checkpoint as a converter reads it: weights by ranges from the store, small files from a folder."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from django.conf import settings

from conversion.formats.checkpoint import Checkpoint, open_checkpoint
from conversion.formats.source import RangeSource
from conversion.naming import NamingError
from conversion.naming.file_types import FileType
from conversion.naming.plan import SIDE_FILES, Plan, in_reference_order, plan_gguf
from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from registry.models import Blob, Commit

COPY_BYTES = 8 * 2**20
MAX_SIDE_FILE_BYTES = 256 * 2**20
"""A tokenizer or config beside the weights; more is not a small file."""

OnBytes = Callable[[int], None]
"""Called with the number of bytes just written; may raise to give up."""


@contextmanager
def work_folder(name: str) -> Iterator[Path]:
    """An empty folder of that name under the data folder; gone afterwards.

    What an earlier attempt left when it was killed is removed first: whoever holds the job's lease owns the folder.
    """
    folder = Path(settings.DATA) / "work" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place_blob(store: BlobStore, blob: Blob, path: Path, on_bytes: OnBytes = lambda n: None) -> None:
    """The bytes of the blob are at `path`: linked where the store lies on the same file system, copied elsewhere."""
    held = store.local_path(blob_key(blob.sha256))
    if held is not None:
        try:
            os.link(held, path)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    with (
        store.open(blob_key(blob.sha256)) as source,
        path.open("xb") as target,
    ):  # never through a link into the store
        while data := source.read(COPY_BYTES):
            target.write(data)
            on_bytes(len(data))


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
