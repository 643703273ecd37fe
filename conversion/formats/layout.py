"""A tensor's place in a file, and writing a file whose places were all settled beforehand."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of one file: bytes `[start, start + length)`, counted from the first byte of the file.

    `dtype` is a safetensors dtype (`BF16`) or a ggml type name (`Q8_0`); `shape` is row-major in both formats.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class FileLayout:
    """A file planned before any tensor exists: its first bytes, where each tensor goes, and its final size.

    Between tensors, and after the last one, whatever is not covered by an entry is zero.
    """

    header_bytes: bytes
    entries: tuple[TensorEntry, ...]
    size_bytes: int


def row_range(entry: TensorEntry, first: int, count: int) -> tuple[int, int]:
    """First byte (from the tensor's own) and length of rows `[first, first + count)` of the last dimension.

    ValueError where there are no such rows, or where a row of a sub-byte dtype does not fill whole bytes.
    """
    n_rows = math.prod(entry.shape[:-1])
    if not 0 <= first <= first + count <= n_rows or (n_rows and entry.length % n_rows):
        raise ValueError(
            f"tensor {entry.name!r} of shape {entry.shape} has no rows {first} to {first + count}"
        )
    row_bytes = entry.length // n_rows if n_rows else 0
    return first * row_bytes, count * row_bytes


def stream_file(layout: FileLayout, tensors: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield the planned file front to back: header, then each tensor's pieces in order, zeros between.

    `tensors` gives (name, pieces) in the order of `layout.entries`; pieces may be of any size, so memory is bounded
    by the largest piece. Raises ValueError when a tensor is missing, out of order, too short or too long: then what
    was yielded so far is not a valid file and must be discarded.
    """
    yield layout.header_bytes
    position = len(layout.header_bytes)
    planned = iter(layout.entries)
    for name, pieces in tensors:
        entry = next(planned, None)
        if entry is None or entry.name != name:
            raise ValueError(f"expected tensor {entry.name if entry else 'none'!r} next, got {name!r}")
        yield from _zeros(entry.start - position)
        yield from _measured(entry, pieces)
        position = entry.end
    if (missing := next(planned, None)) is not None:
        raise ValueError(f"tensor {missing.name!r} was planned but never came")
    yield from _zeros(layout.size_bytes - position)


def _measured(entry: TensorEntry, pieces: Iterable[bytes]) -> Iterator[bytes]:
    remaining = entry.length
    for piece in pieces:
        remaining -= len(piece)
        if remaining < 0:
            break
        yield piece
    if remaining != 0:
        fault = "more" if remaining < 0 else f"{remaining} fewer"
        raise ValueError(f"tensor {entry.name!r}: got {fault} bytes than the {entry.length} planned")


def _zeros(length: int) -> Iterator[bytes]:
    if length > 0:
        yield bytes(length)
