"""Files and folders, durable ones, and what the operating system's errors mean for a store."""

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mirror.blobs.errors import OutOfSpace, StoreError, StoreRefused
from mirror.blobs.keys import is_segment

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_FULL = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file size limit is reached",
}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINKS = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """An OSError that the block does not expect leaves as a StoreError that names the path."""
    try:
        yield
    except OSError as error:
        raise _named(path, error) from error


def _named(path: Path, error: OSError) -> StoreError:
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return OutOfSpace(str(path.parent), _FULL[error.errno])
    if error.errno in _NO_LINKS:
        return StoreRefused(
            f"{path}: this file system has no hard links ({reason}), which the blob store needs to publish "
            "a file atomically. Put HOLDFAST_BLOBS on a local Linux file system, or use an S3 store.",
            code="no-hard-links",
        )
    if error.errno in _REFUSED:
        return StoreRefused(f"{path}: {reason}. Let the service's user write there.", code="store-read-only")
    return StoreError(
        f"{path}: {reason}. Look at the disk and the kernel log, then run `audit`.", code="disk-error"
    )


class FileRange(io.RawIOBase):
    """Bytes [position, end) of an open file; owns the descriptor."""

    def __init__(self, descriptor: int, position: int, end: int) -> None:
        self._descriptor, self._position, self._end = descriptor, position, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer)[: self._end - self._position]
        count = os.preadv(self._descriptor, [view], self._position)
        self._check_progress(count if view else 1)
        self._position += count
        return count

    def readall(self) -> bytes:
        return b"".join(iter(self._read_rest, b""))

    def _read_rest(self) -> bytes:
        """As much as one system call gives, which for less than 2 GiB is all."""
        data = os.pread(self._descriptor, self._end - self._position, self._position)
        self._check_progress(len(data))
        self._position += len(data)
        return data

    def _check_progress(self, count: int) -> None:
        if not count and self._position < self._end:
            raise StoreError("a stored file was truncated while it was read; run `audit`.", code="read-short")

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in the folder, in key order (`a.b` before `a/`), names of ours only; nothing if it is absent."""
    with named_errors(folder):
        try:
            with os.scandir(folder) as entries:
                visible = [entry for entry in entries if is_segment(entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
    return sorted(visible, key=lambda entry: entry.name + "/" * entry.is_dir(follow_symlinks=False))


def make_folders(folder: Path) -> None:
    """The folder exists, and so do its entries in its parents after a power cut."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
