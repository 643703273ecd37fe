"""Readers of a byte range that every store hands out: buffered, bounded, not seekable."""

import io
from typing import BinaryIO, cast

BUFFER_BYTES = 1 << 20


def buffered(raw: io.RawIOBase) -> BinaryIO:
    """The raw reader behind one buffer, so that small reads do not become small requests."""
    return cast(BinaryIO, io.BufferedReader(raw, BUFFER_BYTES))


def empty() -> BinaryIO:
    """A reader of no bytes."""
    return io.BytesIO(b"")


def fits(start: int, length: int | None, size_bytes: int) -> bool:
    """Whether the range lies inside an object of that size; an empty range at its very end does."""
    return 0 <= start <= size_bytes and (length is None or 0 <= length <= size_bytes - start)
