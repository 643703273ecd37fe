"""Parts of a staged file, written at their places by several writers at once.

Writers share a lock on the file; who gathers, finishes or resumes it needs the lock alone (`staging.open_locked`). So
nobody writes into bytes that are being hashed, and a sealed file cannot be opened for writing at all: whoever comes
late with a part is refused, and never touches the bytes of a blob.
"""

import fcntl
import os
import stat as modes
from collections.abc import Iterable
from pathlib import Path

from mirror.blobs.directory.files import named_errors, sync_folder
from mirror.blobs.store import StagedBusy, StagedPart


def write_part(name: str, path: Path, part: StagedPart, pieces: Iterable[bytes]) -> None:
    """The pieces lie in the file where the part belongs, durable. Raises StagedBusy, OutOfSpace."""
    with named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _open_shared(name, path)
    try:
        position = part.start
        for piece in pieces:
            position += _write_at(path, descriptor, piece, position)
        with named_errors(path):
            os.fsync(descriptor)
            sync_folder(path.parent)
    finally:
        os.close(descriptor)


def _write_at(path: Path, descriptor: int, piece: bytes, position: int) -> int:
    rest = memoryview(piece)
    with named_errors(path):
        while rest:
            count = os.pwrite(descriptor, rest, position)
            position, rest = position + count, rest[count:]
    return len(piece)


def _open_shared(name: str, path: Path) -> int:
    """A descriptor of the file of this name, sharing its lock; StagedBusy if somebody has it alone, or sealed it."""
    while True:
        with named_errors(path):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            except PermissionError:
                raise StagedBusy(name) from None  # sealed: it is about to become a blob
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            status = os.fstat(descriptor)
            if not status.st_mode & modes.S_IWUSR or status.st_nlink > 1:
                raise BlockingIOError  # sealed, and we may do what modes forbid
            if os.path.samestat(status, path.lstat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(descriptor)
            raise StagedBusy(name) from None
        os.close(descriptor)
