"""Importance matrices of llama.cpp: how much each column of a weight matters, in either of the two forms there are.

GGUF form (`general.type` is `imatrix`): per weight two F32 tensors, `NAME.in_sum2` (matrices, columns), sums of squared
activations, and `NAME.counts` (matrices, 1), how many rows went into each; metadata `imatrix.datasets`,
`imatrix.chunk_count`, `imatrix.chunk_size`.

The older binary form, all numbers little-endian:

| bytes | what |
|---|---|
| int32 | number of entries |
| entries | int32 length and name; int32 calls; int32 number of values; float32 values (sums, times calls over counts) |
| int32 | number of chunks (may be absent, with what follows) |
| int32 | length, and name of the calibration text |

(llama.cpp: common/imatrix-loader.cpp and tools/quantize/quantize.cpp: load_imatrix; weights bit for bit.) A weight's
importance is its sum over its count, in float32; a matrix nobody was sent to (an expert) counts as all ones. An entry
holds one vector per matrix of a stack. Values stay in the file and are read when asked for, so a matrix of a gigabyte
costs no memory.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.gguf import GgufHeader, read_header, read_value
from conversion.formats.source import ByteSource, read_exactly

MAX_ENTRIES = 100_000
MAX_NAME_BYTES = 512
MAX_VALUES = 2**31 - 1
MAX_COUNTS = 65_536
"""Matrices of one stack: experts of a layer."""

MAX_DATASET_BYTES = 64 * 1024
CHECKED_AT_ONCE = 1 << 20
SUMS, COUNTS = ".in_sum2", ".counts"

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImatrixEntry:
    """Where the sums of one weight lie, and by how much each of its matrices' is divided (0: never used)."""

    start: int
    n_values: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Imatrix:
    """An importance matrix: entries by the name of the weight, and where it comes from."""

    entries: Mapping[str, ImatrixEntry]
    datasets: tuple[str, ...]
    n_chunks: int
    source: ByteSource = field(repr=False)
    file: str = ""

    def fits(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether there is an entry of the right size for a weight of this row-major shape."""
        entry = self.entries.get(name)
        return entry is not None and entry.n_values == shape[-1] * math.prod(shape[:-2][-1:])

    def vector(self, name: str, matrix: int, n_cols: int) -> Weights:
        """float32 (n_cols,): the importance of the columns of one matrix of a weight that `fits`."""
        entry = self.entries[name]
        sums = self._read(entry, matrix * n_cols, n_cols)
        per_count = entry.n_values // len(entry.counts)
        first, last = matrix * n_cols // per_count, (matrix * n_cols + n_cols - 1) // per_count
        if first != last:  # an entry whose matrices are cut otherwise: value by value
            counts = np.repeat(entry.counts[first : last + 1], per_count)[
                matrix * n_cols - first * per_count :
            ][:n_cols]
        else:
            counts = np.full(n_cols, entry.counts[first])
        with np.errstate(all="ignore"):
            means = sums / counts.astype(np.float32)
        return np.where(counts > 0, means, np.float32(1)).astype(np.float32)

    def check_finite(self) -> None:
        """Reads every value once; HeaderError `im-not-finite` names the weight, as llama-quantize refuses the file."""
        for name, entry in self.entries.items():
            for first in range(0, entry.n_values, CHECKED_AT_ONCE):
                values = self._read(entry, first, min(CHECKED_AT_ONCE, entry.n_values - first))
                if not np.isfinite(values).all():
                    raise HeaderError("im-not-finite", "it holds NaN or infinity", f"imatrix {quoted(name)}")

    def _read(self, entry: ImatrixEntry, first: int, count: int) -> Weights:
        data = read_exactly(
            self.source, entry.start + 4 * first, 4 * count, code="im-truncated", what="imatrix values"
        )
        return np.frombuffer(data, dtype="<f4")


def open_imatrix(source: ByteSource, file: str = "") -> Imatrix:
    """The importance matrix in this file, of either form; every value is seen to be finite. HeaderError `im-…`."""
    is_gguf = read_exactly(source, 0, min(4, source.size_bytes), code="im-truncated", what="it") == b"GGUF"
    imatrix = _open_gguf(source, file) if is_gguf else _open_binary(source, file)
    if not imatrix.entries:
        raise HeaderError("im-empty", "an importance matrix without entries")
    imatrix.check_finite()
    return imatrix


def _open_gguf(source: ByteSource, file: str) -> Imatrix:
    header = read_header(source)
    for key in ("imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"):
        if key not in header.metadata:
            raise HeaderError("im-metadata", f"a GGUF without {key} is no importance matrix")
    tensors = {entry.name: entry for entry in header.entries}
    names = sorted({_stem(name) for name in tensors} - {""})
    entries: dict[str, ImatrixEntry] = {}
    for name in names:
        sums, counts = tensors.get(name + SUMS), tensors.get(name + COUNTS)
        where = f"imatrix {quoted(name)}"
        if sums is None or counts is None or {sums.dtype, counts.dtype} != {"F32"}:
            raise HeaderError("im-pair", "sums and counts must both be there, as F32", where)
        if not 0 < counts.n_elements <= MAX_COUNTS or sums.n_elements % counts.n_elements:
            raise HeaderError(
                "im-counts", f"{counts.n_elements} counts do not divide {sums.n_elements} sums", where
            )
        data = read_exactly(source, counts.start, counts.length, code="im-truncated", what="counts")
        values = np.frombuffer(data, dtype="<f4")
        if not np.isfinite(values).all() or np.abs(values).max() >= 2**31:
            raise HeaderError("im-counts", "a count is not a number of rows", where)
        # lround: halves away from zero
        rounded = np.trunc(values.astype(np.float64) + np.copysign(0.5, values)).astype(np.int64)
        entries[name] = ImatrixEntry(sums.start, sums.n_elements, tuple(rounded.tolist()))
    return Imatrix(entries, _datasets(source, header), _chunks(header), source, file)


def _stem(name: str) -> str:
    return next((name.removesuffix(end) for end in (SUMS, COUNTS) if name.endswith(end)), "")


def _datasets(source: ByteSource, header: GgufHeader) -> tuple[str, ...]:
    value = header.metadata["imatrix.datasets"]
    found = read_value(source, value).value
    is_texts = isinstance(found, list) and all(isinstance(text, str) for text in found)
    if not is_texts or value.size_bytes > MAX_DATASET_BYTES:
        raise HeaderError("im-metadata", "imatrix.datasets must be a short list of texts")
    return tuple(found)


def _chunks(header: GgufHeader) -> int:
    number = header.get("imatrix.chunk_count")
    if type(number) is not int or not 0 <= number <= MAX_VALUES:
        raise HeaderError("im-metadata", "imatrix.chunk_count must be a whole number")
    return number


def _open_binary(source: ByteSource, file: str) -> Imatrix:
    """One read per entry: an entry's head is short, and its values are stepped over."""
    (n_entries,) = struct.unpack("<i", _window(source, 0, 4, "the number of entries"))
    if not 0 < n_entries <= MAX_ENTRIES or n_entries * 16 > source.size_bytes:
        raise HeaderError(
            "im-entry-count",
            f"{n_entries} entries are announced; 1 to {MAX_ENTRIES} that fit the file may be",
        )
    entries: dict[str, ImatrixEntry] = {}
    position = 4
    for _ in range(n_entries):
        name, entry = _binary_entry(source, position)
        if name in entries:
            raise HeaderError("im-duplicate", "it is there twice", f"imatrix {quoted(name)}")
        entries[name] = entry
        position = entry.start + 4 * entry.n_values
    n_chunks, dataset = _trailer(source, position)
    return Imatrix(entries, (dataset,) if dataset else (), n_chunks, source, file)


def _binary_entry(source: ByteSource, start: int) -> tuple[str, ImatrixEntry]:
    head = source.read(start, min(12 + MAX_NAME_BYTES, source.size_bytes - start))
    name = _text(head, MAX_NAME_BYTES, "an entry's name")
    end = 4 + len(name.encode("utf-8", "surrogateescape"))
    where = f"imatrix {quoted(name)}"
    if len(head) < end + 8:
        raise HeaderError("im-truncated", "the file ends inside its entry", where)
    calls, n_values = struct.unpack_from("<ii", head, end)
    if n_values < 1 or calls < 0 or not name:
        raise HeaderError("im-entry", f"{n_values} values of {calls} calls", where)
    if start + end + 8 + 4 * n_values > source.size_bytes:
        raise HeaderError("im-truncated", f"{n_values} values, but the file ends before them", where)
    return name, ImatrixEntry(start + end + 8, n_values, (max(calls, 1),))


def _trailer(source: ByteSource, start: int) -> tuple[int, str]:
    if start == source.size_bytes:
        return 0, ""
    (n_chunks,) = struct.unpack("<i", _window(source, start, 4, "the number of chunks"))
    if n_chunks < 0:
        raise HeaderError("im-metadata", f"{n_chunks} chunks")
    if start + 4 == source.size_bytes:
        return n_chunks, ""
    tail = source.read(start + 4, min(4 + MAX_DATASET_BYTES, source.size_bytes - start - 4))
    return n_chunks, _text(tail, MAX_DATASET_BYTES, "the calibration text's name")


def _text(data: bytes, limit: int, what: str) -> str:
    """The text that `data` begins with: an int32 length and so many bytes."""
    if len(data) < 4:
        raise HeaderError("im-truncated", f"the file ends inside {what}")
    (length,) = struct.unpack_from("<i", data)
    if not 0 <= length <= limit:
        raise HeaderError("im-name", f"{what} has {length} bytes; at most {limit} are allowed")
    if 4 + length > len(data):
        raise HeaderError("im-truncated", f"the file ends inside {what}")
    return data[4 : 4 + length].decode("utf-8", "surrogateescape")


def _window(source: ByteSource, start: int, length: int, what: str) -> bytes:
    return read_exactly(source, start, length, code="im-truncated", what=what)
