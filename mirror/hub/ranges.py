"""Byte ranges and conditional requests, by RFC 9110 sections 13 and 14. Pure.

One range at most: a request for several gets the whole file, as the RFC allows, because answers of many parts
are how a small request makes a large amount of work.
"""

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,30})\s*-\s*([0-9]{0,30})\s*", re.IGNORECASE)
_ETAG = re.compile(r'(?:W/)?"[^"]*"|\*')


@dataclass(frozen=True)
class ByteRange:
    """Bytes [start, start + length) of a file of `size_bytes`."""

    start: int
    length: int
    size_bytes: int

    @property
    def is_whole(self) -> bool:
        return self.length == self.size_bytes

    def __str__(self) -> str:
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size_bytes}"


class RangeNotSatisfiable(Exception):
    """The range begins at or beyond the end of the file."""


def read_range(header: str, size_bytes: int) -> ByteRange | None:
    """The range that the Range header asks for, cut to the file. None: send the whole file.

    What is not one well-formed range of bytes is ignored, as the RFC demands. Raises RangeNotSatisfiable.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last = match.groups()
    if first:
        return _from_first(int(first), int(last) if last else None, size_bytes)
    return _suffix(int(last), size_bytes) if last else None


def _from_first(first: int, last: int | None, size_bytes: int) -> ByteRange | None:
    if last is not None and last < first:
        return None
    if first >= size_bytes:
        raise RangeNotSatisfiable
    end = size_bytes if last is None else min(last + 1, size_bytes)
    return ByteRange(first, end - first, size_bytes)


def _suffix(count: int, size_bytes: int) -> ByteRange:
    if count == 0 or size_bytes == 0:
        raise RangeNotSatisfiable
    length = min(count, size_bytes)
    return ByteRange(size_bytes - length, length, size_bytes)


def matches_any(header: str, etag: str) -> bool:
    """Whether If-None-Match names this etag (weak comparison, `*` is any)."""
    return any(tag.removeprefix("W/") in (etag, "*") for tag in _ETAG.findall(header))


def is_same_version(if_range: str, etag: str) -> bool:
    """Whether a range may be served: no If-Range, or exactly this etag. A date never is: we send none."""
    return not if_range or if_range.strip() == etag
