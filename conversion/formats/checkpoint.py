"""A checkpoint: all the weights of one commit, whether one safetensors file holds them or many shards do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from conversion.formats.errors import quoted
from conversion.formats.layout import TensorEntry, row_range
from conversion.formats.safetensors import read_header
from conversion.formats.shards import SAFETENSORS, choose_files, gathered
from conversion.formats.source import ByteSource, read_exactly
from conversion.formats.weights import Rows, decode_rows

INDEX_SUFFIX = SAFETENSORS.index_suffix


@dataclass(frozen=True)
class Checkpoint:
    """Every tensor of a checkpoint, by name, with the file that holds it.

    `paths` are the files read; `entries` are in the order of the files and of the data in each, so reading them in
    turn reads every file once, front to back. `unlisted` names tensors that a shard holds but the index does not
    mention: they are part of `entries`, because loaders that read whole shards load them.
    """

    entries: dict[str, TensorEntry]
    path_of: dict[str, str]
    paths: tuple[str, ...]
    metadata: Mapping[str, Any]
    unlisted: tuple[str, ...] = ()
    sources: Mapping[str, ByteSource] = field(default_factory=dict, repr=False)

    SHORT_CODE: ClassVar[str] = "st-data-short"
    """The code for a file that was cut after it was opened."""

    @property
    def n_parameters(self) -> int:
        return sum(entry.n_elements for entry in self.entries.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of tensor data, without headers."""
        return sum(entry.length for entry in self.entries.values())

    def read_tensor(self, name: str) -> bytes:
        """All bytes of one tensor; KeyError if there is no such tensor."""
        entry = self.entries[name]
        return self.read_bytes(name, 0, entry.length)

    def read_rows(self, name: str, first: int, count: int) -> bytes:
        """The bytes of rows `[first, first + count)` of a tensor seen as rows of its last dimension.

        This is how a tensor larger than memory is converted. A row of a sub-byte dtype must fill whole bytes.
        """
        return self.read_bytes(name, *row_range(self.entries[name], first, count))

    def rows(self, name: str, first: int, count: int, out: Rows | None = None) -> Rows:
        """The same rows as float32 (count, n_cols); `out`, where given, is filled and returned."""
        return decode_rows(self.read_rows(name, first, count), self.entries[name], out)

    def read_bytes(self, name: str, start: int, length: int) -> bytes:
        """`length` bytes of a tensor from its byte `start` on."""
        entry = self.entries[name]
        source = self.sources[self.path_of[name]]
        what = f"tensor {quoted(name)} in {self.path_of[name]}"
        return read_exactly(source, entry.start + start, length, code=self.SHORT_CODE, what=what)


def open_checkpoint(sources: Mapping[str, ByteSource]) -> Checkpoint:
    """The checkpoint among these files of one folder (path -> source; other files are ignored).

    `model.safetensors` wins, as it does for transformers; else the index and its shards; else the one safetensors
    file there is. Raises HeaderError: a header's own fault with the file in `where`, or `ck-…` for files that do not
    fit together.
    """
    paths, weight_map = choose_files(sources, SAFETENSORS)
    metadata: dict[str, str] = {}

    def read(path: str) -> Iterable[TensorEntry]:
        header = read_header(sources[path])
        metadata.update(header.metadata)
        return header.entries

    entries, path_of = gathered(paths, weight_map, read)
    unlisted = tuple(name for name in entries if weight_map is not None and name not in weight_map)
    return Checkpoint(entries, path_of, paths, metadata, unlisted, {path: sources[path] for path in paths})
