"""The blob store contract on plain files."""

import contextlib
import os
import secrets
import stat as modes
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from mirror.blobs import reading
from mirror.blobs.directory.files import FileRange, entries_of, make_folders, named_errors, sync_folder
from mirror.blobs.directory.parts import write_part
from mirror.blobs.directory.staging import StagedFile, open_locked
from mirror.blobs.directory.tail import FileTail
from mirror.blobs.hashing import CHUNK_BYTES, Digester
from mirror.blobs.keys import INCOMING, check_key, check_name, check_prefix, check_target, is_staged
from mirror.blobs.store import (
    KeyMissing,
    RangeError,
    Staged,
    StagedBusy,
    StagedIncomplete,
    StagedPart,
    Stat,
    StoredDiffers,
    check_copy_target,
    check_digests,
    check_promise,
    check_put,
)


class DirectoryStore:
    """The contract of `mirror.blobs.store` on plain files. Safe for many processes on one file system."""

    name = "directory"

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self.incoming = self.root / "incoming"

    def __repr__(self) -> str:
        return f"DirectoryStore({str(self.root)!r})"

    def stage(self, name: str, *, git_size: int | None = None) -> "StagedFile":
        path = self.incoming / check_name(name)
        with named_errors(path):
            self.incoming.mkdir(parents=True, exist_ok=True)
            return StagedFile(name, path, open_locked(name, path), git_size)

    def tail(self, name: str) -> FileTail:
        return FileTail(name, self.incoming / check_name(name))

    def presign_part(self, name: str, part: StagedPart, *, seconds: int) -> str | None:
        return None

    def write_part(self, name: str, part: StagedPart, pieces: Iterable[bytes]) -> None:
        write_part(name, self.incoming / check_name(name), part, pieces)

    def gather(self, name: str, parts: Sequence[StagedPart]) -> "StagedFile":
        staged = self.stage(name)
        for part in parts:
            if (size_bytes := min(staged.size_bytes - part.start, part.size_bytes)) < part.size_bytes:
                staged.close()
                raise StagedIncomplete(name, part.number, part.size_bytes, max(size_bytes, 0))
        return staged

    def promote(self, staged: Staged, key: str, *, sha256: str, size_bytes: int) -> bool:
        if not isinstance(staged, StagedFile):
            raise TypeError("a directory store promotes what it staged itself")
        check_promise(key, sha256)
        check_digests(key, staged.finish(), sha256, size_bytes)
        staged.seal()
        with named_errors(self._path(key)):
            is_new = self._link(staged.path, key, size_bytes)
            # At once: a crash here would leave a staged name that only the sweeper removes, days later.
            staged.discard()
            # Also when another writer made the link: it may not have come to this line yet, and we say "held".
            sync_folder(self._path(key).parent)
        return is_new

    def put(self, key: str, data: bytes, *, replace: bool = False) -> bool:
        digester = Digester()
        digester.update(data)
        check_put(key, data, replace, digester.digests().sha256)
        return self._put(key, iter([data]), replace)

    def open(self, key: str, start: int = 0, length: int | None = None) -> BinaryIO:
        path = self._path(check_key(key))
        with named_errors(path):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError):
                raise KeyMissing(key) from None
        size_bytes = os.fstat(descriptor).st_size
        if not reading.fits(start, length, size_bytes):
            os.close(descriptor)
            raise RangeError(key, start, length, size_bytes)
        end = size_bytes if length is None else start + length
        return reading.buffered(FileRange(descriptor, start, end))

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        with self.open(key, start, length) as reader:
            return reader.read()

    def stat(self, key: str) -> Stat | None:
        path = self._path(check_key(key))
        with named_errors(path):
            try:
                status = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _stat(key, status) if modes.S_ISREG(status.st_mode) else None

    def copy(self, source: str, target: str) -> bool:
        check_copy_target(target)
        with self.open(source) as reader:
            return self._put(target, iter(lambda: reader.read(CHUNK_BYTES), b""), replace=False)

    def delete(self, key: str) -> None:
        path = self._path(check_target(key))
        with named_errors(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()

    def list(self, prefix: str) -> Iterator[Stat]:
        folder = check_prefix(prefix).rpartition("/")[0]
        return (
            stat for stat in self._walk(folder + "/" if folder else "", prefix) if not is_staged(stat.key)
        )

    def presign(self, key: str, *, seconds: int, filename: str | None = None) -> str | None:
        return None

    def local_path(self, key: str) -> Path | None:
        return self._path(key) if self.stat(key) else None

    def staged_names(self) -> Iterator[Stat]:
        for entry in entries_of(self.incoming):
            if entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    yield _stat(INCOMING + entry.name, entry.stat(follow_symlinks=False))

    def discard_abandoned(self, before: datetime) -> Sequence[Stat]:
        return [stat for stat in self.staged_names() if stat.modified_at < before and self._discard(stat)]

    def _discard(self, stat: Stat) -> bool:
        try:
            with self.stage(stat.key.removeprefix(INCOMING)) as staged:
                staged.discard()
        except StagedBusy:
            return False
        return True

    def _path(self, key: str) -> Path:
        return self.root / key

    def _put(self, key: str, chunks: Iterator[bytes], replace: bool) -> bool:
        with self.stage(f"put-{os.getpid()}-{secrets.token_hex(8)}") as staged:
            try:
                for chunk in chunks:
                    staged.write(chunk)
                size_bytes = staged.finish().size_bytes
                staged.seal()
                with named_errors(self._path(key)):
                    name_it = self._replace if replace else self._link
                    is_new = name_it(staged.path, key, size_bytes)
                    sync_folder(self._path(key).parent)
                return is_new
            finally:
                staged.discard()

    def _link(self, source: Path, key: str, size_bytes: int) -> bool:
        """The file has its final name, which is not durable yet; False if the name was taken by one of that size."""
        target = self._path(key)
        make_folders(target.parent)
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            _check_held(key, target.lstat(), size_bytes)
            return False
        return True

    def _replace(self, source: Path, key: str, size_bytes: int) -> bool:
        target = self._path(key)
        make_folders(target.parent)
        is_new = not target.exists()
        source.replace(target)
        return is_new

    def _walk(self, folder: str, prefix: str) -> Iterator[Stat]:
        for entry in entries_of(self.root / folder):
            key = folder + entry.name
            if entry.is_dir(follow_symlinks=False):
                if (key + "/").startswith(prefix[: len(key) + 1]) and not is_staged(key + "/"):
                    yield from self._walk(key + "/", prefix)
            elif key.startswith(prefix) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    yield _stat(key, entry.stat(follow_symlinks=False))


def _check_held(key: str, status: os.stat_result, size_bytes: int) -> None:
    """What is already under the key has the right size; its digest was proven before it got there."""
    if status.st_size != size_bytes:
        raise StoredDiffers(key, size_bytes, status.st_size)


def _stat(key: str, status: os.stat_result) -> Stat:
    return Stat(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
