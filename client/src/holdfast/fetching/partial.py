"""A file on its way in: bytes written anywhere, and a map of which of them are there that survives the process.

The map lies beside the bytes, as `<file>.parts`:

| offset | length | meaning                                              |
|--------|--------|------------------------------------------------------|
| 0      | 8      | `HFPARTS1`                                           |
| 8      | 8      | size of the whole file, little-endian                |
| 16     | 8      | size of a part                                       |
| 24     | 8 each | bytes present at the front of part 0, 1, 2 …         |

Bytes are written before the map says so, and both with plain writes: a process killed at any instant leaves a map
that claims at most what is there. After a power cut it may claim more; then the digest of the whole differs and
everything is fetched again. The map never makes bytes trusted.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from pathlib import Path

PART_BYTES = 16 * 1024 * 1024
MAP_EVERY_BYTES = 1024 * 1024
_MAGIC = b"HFPARTS1"
_HEADER = struct.Struct("<8sQQ")
_COUNT = struct.Struct("<Q")
_READ_WRITE = os.O_RDWR | getattr(os, "O_BINARY", 0)


class Partial:
    """The open file and its map. Each part is written front to back by one thread; any number of threads may write."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        """Opens or creates; continues if the map beside the file fits, starts empty otherwise."""
        self.path = path
        self.size_bytes = size_bytes
        self._map_path = path.with_name(f"{path.name}.parts")
        n_parts = -(-size_bytes // PART_BYTES)
        self._lock = threading.Lock()
        kept = self._read_map(n_parts)
        if kept is None:
            self._start_empty(n_parts)
        self.present = kept or [0] * n_parts
        self._recorded = list(self.present)
        self._file = os.open(path, _READ_WRITE)
        self._map = os.open(self._map_path, _READ_WRITE)

    def _start_empty(self, n_parts: int) -> None:
        """The map goes first and comes last, so that it never speaks of bytes that are not there."""
        with contextlib.suppress(FileNotFoundError):
            self._map_path.unlink()
        handle = os.open(self.path, _READ_WRITE | os.O_CREAT | os.O_TRUNC, 0o666)
        os.ftruncate(handle, self.size_bytes)
        os.close(handle)
        self._map_path.write_bytes(
            _HEADER.pack(_MAGIC, self.size_bytes, PART_BYTES) + bytes(n_parts * _COUNT.size)
        )

    def _read_map(self, n_parts: int) -> list[int] | None:
        try:
            raw = self._map_path.read_bytes()
            if (
                self.path.stat().st_size != self.size_bytes
                or len(raw) != _HEADER.size + n_parts * _COUNT.size
            ):
                return None
        except OSError:
            return None
        if _HEADER.unpack_from(raw) != (_MAGIC, self.size_bytes, PART_BYTES):
            return None
        present = [count for (count,) in _COUNT.iter_unpack(raw[_HEADER.size :])]
        return present if all(n <= self._part_size(i) for i, n in enumerate(present)) else None

    def _part_size(self, part: int) -> int:
        return min(PART_BYTES, self.size_bytes - part * PART_BYTES)

    def part_end(self, offset: int) -> int:
        """Where the part that holds this offset ends."""
        part = offset // PART_BYTES
        return part * PART_BYTES + self._part_size(part)

    def write(self, offset: int, data: bytes) -> None:
        """Afterwards the bytes are in the file, and soon in the map. `offset` is where its part ends so far."""
        part = offset // PART_BYTES
        _write_at(self._file, self._lock, data, offset)
        self.present[part] += len(data)
        done = self.present[part]
        if done - self._recorded[part] >= MAP_EVERY_BYTES or done == self._part_size(part):
            self.record(part)

    def record(self, part: int) -> None:
        """The map now says of this part what is there."""
        done = self.present[part]
        _write_at(self._map, self._lock, _COUNT.pack(done), _HEADER.size + part * _COUNT.size)
        self._recorded[part] = done

    def present_bytes(self) -> int:
        """How many bytes are there."""
        return sum(self.present)

    def present_until(self, offset: int) -> int:
        """Where the bytes present from this offset on end, looking no further than the part that holds it."""
        part = offset // PART_BYTES
        return max(offset, part * PART_BYTES + self.present[part]) if offset < self.size_bytes else offset

    def missing(self) -> list[tuple[int, int]]:
        """The gaps as (start, end), each as long as possible, none holding a present byte."""
        gaps: list[tuple[int, int]] = []
        for part, done in enumerate(self.present):
            start, end = part * PART_BYTES + done, part * PART_BYTES + self._part_size(part)
            if start == end:
                continue
            if gaps and gaps[-1][1] == start:
                gaps[-1] = (gaps[-1][0], end)
            else:
                gaps.append((start, end))
        return gaps

    def read_into(self, view: memoryview, offset: int) -> int:
        """Reads present bytes back; the number read."""
        if hasattr(os, "preadv"):
            return os.preadv(self._file, [view], offset)
        with self._lock:
            os.lseek(self._file, offset, os.SEEK_SET)
            data = os.read(self._file, len(view))
        view[: len(data)] = data
        return len(data)

    def forget(self) -> None:
        """Starts over: nothing is present any more."""
        for part in range(len(self.present)):
            self.present[part] = 0
            self.record(part)

    def close(self) -> None:
        """Keeps file and map for the next process; the map is exact."""
        if self._file < 0:
            return
        for part, done in enumerate(self.present):
            if done != self._recorded[part]:
                with contextlib.suppress(OSError):  # a full disk; the map then claims less than is there
                    self.record(part)
        os.close(self._file)
        os.close(self._map)
        self._file = self._map = -1

    def discard(self) -> None:
        """Removes both. Idempotent."""
        self.close()
        for path in (self.path, self._map_path):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def move_to(self, final: Path) -> None:
        """The bytes get their final name, in one step; the map goes. The caller has verified them."""
        self.close()
        self.path.replace(final)
        with contextlib.suppress(FileNotFoundError):
            self._map_path.unlink()


def _write_at(handle: int, lock: threading.Lock, data: bytes, offset: int) -> None:
    """Writes all of it, also where the platform has no pwrite."""
    view = memoryview(data)
    while view:
        if hasattr(os, "pwrite"):
            n = os.pwrite(handle, view, offset)
        else:
            with lock:
                os.lseek(handle, offset, os.SEEK_SET)
                n = os.write(handle, view)
        view = view[n:]
        offset += n
