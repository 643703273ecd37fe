"""Reading a staged file behind its writer, from any process of this machine."""

import os
from pathlib import Path

from mirror.blobs.directory.files import named_errors
from mirror.blobs.errors import StagedGone


class FileTail:
    """The `Tail` of a directory: the growing file itself. Its descriptor survives promotion: the inode stays."""

    def __init__(self, name: str, path: Path) -> None:
        self._name, self._path = name, path
        self._descriptor: int | None = None

    def size_bytes(self) -> int:
        if self._descriptor is None and not self._open():
            return 0
        assert self._descriptor is not None  # noqa: S101  # just opened
        status = os.fstat(self._descriptor)
        if status.st_nlink == 0:
            raise StagedGone(self._name)
        return status.st_size

    def read(self, start: int, length: int) -> bytes:
        if self._descriptor is None and not self._open():
            raise StagedGone(self._name)
        assert self._descriptor is not None  # noqa: S101  # just opened
        with named_errors(self._path):
            return os.pread(self._descriptor, length, start)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> bool:
        with named_errors(self._path):
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return False
        return True
