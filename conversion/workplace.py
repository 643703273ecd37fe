"""Where a worker puts files for the time of one job: a folder of its own, with blobs linked or copied into it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from registry.models import Blob

COPY_BYTES = 8 * 2**20

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
