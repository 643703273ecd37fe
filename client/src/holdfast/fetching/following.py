"""Hashing behind the writers: the digest is known the moment the last byte is written.

A whole-file digest must be taken front to back, while the bytes may arrive in any order. A thread follows: what is
written exactly where it stands is handed over in memory; what came early, or was there from an earlier process, is read
back from the file, which the operating system still holds. hashlib lets other threads run while it works.
"""

from __future__ import annotations

import threading
from collections import deque

from holdfast.fetching.hashing import READ_BYTES, Digests, Hasher
from holdfast.fetching.partial import Partial

MAX_WAITING = 16  # pieces of half a MiB in memory; when full, the bytes are read back from the file instead


class FollowingHasher:
    """Hashes a partial file from its front as far as it is present; `finish` returns the digests of all of it."""

    def __init__(self, partial: Partial, *, with_git: bool) -> None:
        self._partial = partial
        self._hasher = Hasher(git_size=partial.size_bytes if with_git else None)
        self._claimed = 0  # bytes hashed, waiting in memory or being read back
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, name="holdfast-hash", daemon=True)
        self._thread.start()

    def offer(self, offset: int, data: bytes) -> None:
        """Tells of bytes that are written now. Never waits."""
        with self._changed:
            if offset == self._claimed and len(self._waiting) < MAX_WAITING:
                self._waiting.append(data)
                self._claimed += len(data)
            self._changed.notify()

    def finish(self) -> Digests:
        """Waits until every byte is hashed. All of them must be present."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._hasher.digests()

    def abandon(self) -> None:
        """Stops the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _follow(self) -> None:
        view = memoryview(bytearray(READ_BYTES))
        try:
            while (work := self._next()) is not None:
                if isinstance(work, bytes):
                    self._hasher.update(work)
                else:
                    self._read_back(view, *work)
        except OSError as error:
            self._error = error

    def _next(self) -> bytes | tuple[int, int] | None:
        """Bytes from memory, or a claimed (start, end) to read back, or None at the end."""
        with self._changed:
            while not self._stopped:
                if self._waiting:
                    return self._waiting.popleft()
                start = self._claimed
                end = min(self._partial.present_until(start), start + READ_BYTES)
                if end > start:
                    self._claimed = end
                    return start, end
                if start == self._partial.size_bytes:
                    return None
                self._changed.wait()
            return None

    def _read_back(self, view: memoryview, start: int, end: int) -> None:
        while start < end:
            n = self._partial.read_into(view[: end - start], start)
            if n == 0:
                raise OSError(f"{self._partial.path} is shorter than what was written to it")
            self._hasher.update(view[:n])
            start += n
