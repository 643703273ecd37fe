"""Where a worker puts files for the time of one job: a folder of its own, with blobs linked or copied into it."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from mirror.blobs import BlobStore
from mirror.blobs.errors import OutOfSpace
from mirror.blobs.keys import blob_key
from registry.models import Blob

COPY_BYTES = 8 * 2**20

OnBytes = Callable[[int], None]
"""Called with the number of bytes just written; may raise to give up."""


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class WorkFolderFull(OutOfSpace):
    """There is no room for what a job has to write; nothing of it is left. A retry helps once there is."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.args = (
            f"{where} is full ({reason}). Nothing that the job wrote there is left. Make room and run it again: "
            "judging and converting need up to four bytes for each parameter of the parent.",
        )


@contextmanager
def work_folder(name: str) -> Iterator[Path]:
    """An empty folder of that name under the data folder; gone afterwards.

    What an earlier attempt left when it was killed is removed first: whoever holds the job's lease owns the folder. A
    full disk leaves the body as WorkFolderFull, wherever the body wrote.
    """
    folder = Path(settings.DATA) / "work" / name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        if error.errno not in FULL:
            raise
        beside = tempfile.gettempdir()
        where = str(Path(error.filename).parent) if error.filename else f"{folder.parent} or {beside}"
        raise WorkFolderFull(where, error.strerror or str(error)) from error
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
