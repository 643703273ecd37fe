"""A GGUF as Weights, whether one file holds it or several: tensors by name, metadata ready to be written again.

A split GGUF is `NAME-00001-of-00003.gguf` and so on, each a whole GGUF with a part of the tensors. `split.count` and
`split.tensors.count` say what there must be; `split.no` counts from 0. The metadata of the first file is the model's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.gguf.metadata import MAX_FULL_VALUE_BYTES, MetadataValue
from conversion.formats.gguf.reader import GgufHeader, read_header
from conversion.formats.gguf.types import ValueType
from conversion.formats.gguf.writer import Stored, Value
from conversion.formats.layout import TensorEntry, row_range
from conversion.formats.shards import gathered
from conversion.formats.source import ByteSource, read_exactly
from conversion.formats.weights import Rows, decode_rows

MAX_SPLITS = 65_535
"""`split.count` is a uint16."""

SPLIT_NUMBER, SPLIT_COUNT, SPLIT_TENSORS = "split.no", "split.count", "split.tensors.count"
SPLIT_KEYS = (SPLIT_NUMBER, SPLIT_COUNT, SPLIT_TENSORS)
SUFFIX = ".gguf"
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


@dataclass(frozen=True)
class GgufWeights:
    """Every tensor of a GGUF by name, in file order, and the file that holds it; `header` is the first file's."""

    entries: dict[str, TensorEntry]
    path_of: dict[str, str]
    header: GgufHeader
    sources: Mapping[str, ByteSource] = field(repr=False)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self.sources)

    @property
    def alignment(self) -> int:
        return self.header.alignment

    @property
    def metadata(self) -> dict[str, Any]:
        """Key to scalar, short string, or the first elements of an array."""
        return {key: value.preview for key, value in self.header.metadata.items()}

    def read_metadata(self) -> dict[str, Value]:
        """Every pair, whole and typed, in file order. Long values are not taken apart: they keep their bytes."""
        return {key: self._value(key, value) for key, value in self.header.metadata.items()}

    def read_rows(self, name: str, first: int, count: int) -> bytes:
        """The bytes of rows `[first, first + count)` as they are stored."""
        return self.read_bytes(name, *row_range(self.entries[name], first, count))

    def read_bytes(self, name: str, start: int, length: int) -> bytes:
        """`length` bytes of a tensor from its byte `start` on."""
        entry, path = self.entries[name], self.path_of[name]
        what = f"tensor {quoted(name)} in {path}"
        return read_exactly(
            self.sources[path], entry.start + start, length, code="gguf-data-short", what=what
        )

    def rows(self, name: str, first: int, count: int, out: Rows | None = None) -> Rows:
        """The same rows as float32 (count, n_cols); `out`, where given, is filled and returned."""
        return decode_rows(self.read_rows(name, first, count), self.entries[name], out)

    def _value(self, key: str, value: MetadataValue) -> Value:
        if value.is_complete:
            whole = list(value.preview) if value.type is ValueType.ARRAY else value.preview
            return Value(value.type, whole, value.element_type)
        if value.size_bytes > MAX_FULL_VALUE_BYTES:
            raise HeaderError(
                "gguf-value-large",
                f"a value of {value.size_bytes} bytes; at most {MAX_FULL_VALUE_BYTES} are loaded",
                f"metadata {quoted(key)}",
            )
        source = next(iter(self.sources.values()))
        data = read_exactly(source, value.start, value.size_bytes, code="gguf-truncated", what="metadata")
        return Value(value.type, Stored(data, value.preview), value.element_type)


def open_gguf(sources: Mapping[str, ByteSource]) -> GgufWeights:
    """The one model in GGUF among these files, be it split or whole.

    HeaderError: a header's own with the file in `where`, `ck-…` where there is no model, more than one, or not all of
    one, and `gguf-split` for files that do not belong together.
    """
    headers: dict[str, GgufHeader] = {}

    def read(path: str) -> tuple[TensorEntry, ...]:
        headers[path] = read_header(sources[path])
        return headers[path].entries

    paths = _model_paths(sources)
    entries, path_of = gathered(paths, None, read)
    _check_split(headers)
    first = headers[paths[0]]
    expected = first.get(SPLIT_TENSORS)
    if len(headers) > 1 and expected != len(entries):
        raise HeaderError(
            "gguf-split", f"split.tensors.count is {quoted(expected)}, but there are {len(entries)} tensors"
        )
    return GgufWeights(entries, path_of, first, {path: sources[path] for path in headers})


def shard_names(name: str) -> list[str]:
    """The names of all files of the split that a file of this name belongs to; only itself where it is whole."""
    found = _SHARD.fullmatch(name)
    if found is None or not 1 <= int(found[2]) <= int(found[3]) <= MAX_SPLITS:
        return [name]
    return [split_path(found[1], number, int(found[3])) for number in range(int(found[3]))]


def split_path(stem: str, number: int, count: int) -> str:
    """The name of file `number` (counted from 0) of `count`."""
    return f"{stem}-{number + 1:05}-of-{count:05}.gguf"


def _model_paths(sources: Mapping[str, ByteSource]) -> tuple[str, ...]:
    """The only GGUF file, or all parts of the only split one; a file given alone need not end in `.gguf`."""
    found = sorted(path for path in sources if path.endswith(SUFFIX) or len(sources) == 1)
    if not found:
        raise HeaderError("ck-empty", "there is no GGUF file here")
    names = shard_names(found[0])
    if missing := [name for name in names if name not in sources]:
        raise HeaderError(
            "ck-shard-missing",
            f"{len(missing)} of {len(names)} parts are missing, first {quoted(missing[0])}",
            found[0],
        )
    if others := sorted(set(found) - set(names)):
        raise HeaderError(
            "ck-ambiguous",
            f"{quoted(found[0])} and {quoted(others[0])} are different models in GGUF; give one",
        )
    return tuple(names)


def _check_split(headers: Mapping[str, GgufHeader]) -> None:
    for number, (path, header) in enumerate(headers.items()):
        count, position = header.get(SPLIT_COUNT, 1), header.get(SPLIT_NUMBER, 0)
        if count in {0, 1} and len(headers) == 1:
            return
        if count != len(headers) or position != number:
            raise HeaderError(
                "gguf-split",
                f"it is file {quoted(position)} of {quoted(count)} (counted from 0), but read as file {number} of "
                f"{len(headers)}. Give all files of one split and no others.",
                path,
            )
