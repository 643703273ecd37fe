"""Where a reader gets its bytes: anything that knows its size and can give an exact range."""

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from conversion.formats.errors import HeaderError


class ByteSource(Protocol):
    """A file of known size, read by ranges; never read as a whole."""

    @property
    def size_bytes(self) -> int: ...

    def read(self, start: int, length: int) -> bytes:
        """Exactly `length` bytes from byte `start` on; the caller stays within `size_bytes`."""
        ...


class BytesSource:
    """Bytes already in memory."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = memoryview(data)
        self.size_bytes = len(self.data)

    def read(self, start: int, length: int) -> bytes:
        return bytes(self.data[start : start + length])


class FileSource:
    """A file on this machine, opened once and read by `pread`, so threads may share it; close it when done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        self.size_bytes = os.fstat(self._descriptor).st_size

    def read(self, start: int, length: int) -> bytes:
        parts: list[bytes] = []
        while length > 0:
            part = os.pread(self._descriptor, length, start)
            if not part:
                break
            parts.append(part)
            start, length = start + len(part), length - len(part)
        return b"".join(parts)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RangeSource:
    """An object somewhere else: its size, and a function that fetches a range of it.

    `RangeSource(blob.size_bytes, partial(store.read, key))` reads a blob wherever and however it is stored.
    """

    def __init__(self, size_bytes: int, fetch: Callable[[int, int], bytes]) -> None:
        self.size_bytes = size_bytes
        self._fetch = fetch

    def read(self, start: int, length: int) -> bytes:
        return self._fetch(start, length)


class CountingSource:
    """Another source, with a count of the reads and bytes it was asked for: how a claim of thrift is tested."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.size_bytes = source.size_bytes
        self.n_reads = 0
        self.bytes_read = 0

    def read(self, start: int, length: int) -> bytes:
        self.n_reads += 1
        self.bytes_read += length
        return self.source.read(start, length)


def read_exactly(source: ByteSource, start: int, length: int, *, code: str, what: str) -> bytes:
    """`length` bytes from `start`, or a `HeaderError` with `code` if the file ends before them.

    The size is compared before anything is allocated. A source that gives fewer bytes than its size promised is
    reported the same way: the file was cut after it was measured.
    """
    if length < 0 or start + length > source.size_bytes:
        raise HeaderError(
            code,
            f"{what} needs bytes {start} to {start + length}, but the file has {source.size_bytes} bytes",
        )
    data = source.read(start, length)
    if len(data) != length:
        raise HeaderError(code, f"{what}: asked for {length} bytes at {start}, got {len(data)}")
    return data
