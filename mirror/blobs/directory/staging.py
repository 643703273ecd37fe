"""A file on its way in: written, hashed behind the writer, locked against a second one."""

import contextlib
import fcntl
import os
import stat as modes
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from mirror.blobs.directory.files import named_errors, sync_folder
from mirror.blobs.hashing import FileFollower
from mirror.blobs.store import Digests, StagedBusy, StoreError

READ_ONLY = 0o444


class StagedFile:
    """A file in `incoming/`, locked against a second writer for as long as it is open."""

    def __init__(self, name: str, path: Path, descriptor: int, git_size: int | None) -> None:
        self.name, self.path = name, path
        self._descriptor = descriptor
        self._follower = FileFollower(descriptor, git_size)
        self._digests: Digests | None = None
        status = os.fstat(descriptor)
        self._size_bytes = status.st_size
        self._is_sealed = status.st_nlink > 1 or not status.st_mode & modes.S_IWUSR
        self._is_open = True
        self._follower.grew(self._size_bytes)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def write(self, data: bytes | memoryview) -> None:
        self._check_writable()
        rest = memoryview(data)
        with named_errors(self.path):
            while rest:
                count = os.pwrite(self._descriptor, rest, self._size_bytes)
                self._size_bytes += count
                rest = rest[count:]
        self._follower.grew(self._size_bytes)

    def checkpoint(self) -> int:
        with named_errors(self.path):
            os.fsync(self._descriptor)
            sync_folder(self.path.parent)
        return self._size_bytes

    def finish(self, on_progress: Callable[[int], None] | None = None) -> Digests:
        if self._digests is None:
            self._check_open()
            with named_errors(self.path):
                os.fsync(self._descriptor)
                self._digests = self._follower.finish(self._size_bytes, on_progress)
        return self._digests

    def seal(self) -> None:
        """Nobody can open the file for writing any more, nor can we."""
        self._is_sealed = True
        with named_errors(self.path):
            os.fchmod(self._descriptor, READ_ONLY)

    def discard(self) -> None:
        # Removed while the lock is still held, so that the name cannot yet be another writer's file.
        if self._is_open:
            with named_errors(self.path), contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        self.close()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._follower.stop()
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreError(
                f"incoming/{self.name} was closed; stage it again to resume.", code="staged-closed"
            )

    def _check_writable(self) -> None:
        self._check_open()
        if self._is_sealed or self._digests is not None:
            raise StoreError(
                f"incoming/{self.name} is finished with {self._size_bytes} bytes and takes no more. "
                "Promote it, or discard it and start again.",
                code="staged-sealed",
            )


def open_locked(name: str, path: Path) -> int:
    """A descriptor of the file that has this name, holding its lock; StagedBusy if another writer does."""
    while True:
        descriptor = _open_staged(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have promoted or discarded the name between our open and our lock.
            if os.path.samestat(os.fstat(descriptor), path.lstat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(descriptor)
            raise StagedBusy(name) from None
        os.close(descriptor)


def _open_staged(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY | flags)  # sealed by a promote that was interrupted
