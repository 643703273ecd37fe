"""One process at a time per blob, with the same lock files as huggingface_hub (its `filelock` uses flock too).

That lock only saves work: what makes a blob right is that it is hashed before it gets its name. Beside it each repo
has one lock of ours, `holdfast.use`, which every pull shares and whoever removes something must have alone: bytes that
a pull has fetched, or counts on, are not taken away before it has linked them. Locks die with their holder, so a killed
process leaves nothing to clean up.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable

POLL_SECONDS = 0.1

if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

    # There are no shared locks here: each sharer locks a byte of its own, and who must be alone locks them all.
    _SHARERS = 1 << 20

    def _lock_shared(handle: int) -> bool:
        os.lseek(handle, os.getpid() % _SHARERS, os.SEEK_SET)
        with suppress(OSError):  # another of the same number: it keeps the others out for us
            msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
        return True

    def _try_alone(handle: int) -> bool:
        os.lseek(handle, 0, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, _SHARERS)
        except OSError:
            return False
        return True
else:
    import errno
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                return True  # a disk without locks: two processes may then do the same work twice
            raise
        return True

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)

    def _lock_shared(handle: int) -> bool:
        with suppress(OSError):  # a disk without locks
            fcntl.flock(handle, fcntl.LOCK_SH)
        return True

    _try_alone = _try_lock


@contextmanager
def locked(path: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds the lock file exclusively; `on_wait` is called once if another process holds it first."""
    handle = _open(path)
    try:
        waited = False
        while not _try_lock(handle):
            if not waited:
                on_wait()
                waited = True
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            _unlock(handle)
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o664)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o664)


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Holds the lock file together with others: while anyone does, `alone` is refused. Where the file cannot be
    made (a cache that we may only read), nothing is held.
    """
    handle = None
    with suppress(OSError):
        handle = _open_lasting(path, _lock_shared)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """True, and until the end nobody else is in `shared` or `alone`; or False at once if somebody is."""
    handle = _open_lasting(path, _try_alone)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file at this moment. Makes nothing, leaves nothing."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_alone(handle)
    finally:
        os.close(handle)


def _open_lasting(path: Path, lock: Callable[[int], bool]) -> int | None:
    """The open, locked file that still has its name (whoever removes a repo removes its locks too); None if it is
    held by others. Raises OSError where it cannot be made.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o664)
        if not lock(handle):
            os.close(handle)
            return None
        with suppress(OSError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)
