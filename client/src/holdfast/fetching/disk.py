"""What a disk can say no to, in our words."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import NoSpace, NotWritable
from holdfast.text import format_bytes, printable

SPARE_BYTES = 16 * 1024 * 1024  # names, links, lock files: never fill the last block
_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns an OSError below into NoSpace or NotWritable with the folder's name."""
    try:
        yield
    except OSError as error:
        raise _translated(error, folder) from error


def _translated(error: OSError, folder: Path) -> NoSpace | NotWritable:
    name = printable(folder)
    if error.errno in _FULL:
        return NoSpace(
            f"the disk is full: {name}: {error.strerror}",
            hint="What has arrived is kept. Make room and run the same command again, or choose another --cache-dir.",
            folder=str(folder),
        )
    what = error.strerror or str(error)
    return NotWritable(
        f"cannot write {printable(error.filename or name)}: {what}",
        hint="Give this user write access, or choose another folder with --cache-dir or --dest.",
        folder=str(folder),
    )


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raises NoSpace if the disk under the folder (which need not exist yet) has less than that free."""
    if needed_bytes == 0:
        return
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        free = shutil.disk_usage(existing).free
    except OSError:
        return  # some network mounts cannot tell; the write will
    if needed_bytes + SPARE_BYTES > free:
        raise NoSpace(
            f"not enough space in {printable(folder)}: {format_bytes(needed_bytes)} needed, {format_bytes(free)} free",
            hint="Make room, or choose another --cache-dir or --dest. Nothing was written.",
            folder=str(folder),
            needed_bytes=needed_bytes,
            free_bytes=free,
        )
