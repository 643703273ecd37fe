"""A checkpoint: all the weights of one commit, whether one safetensors file holds them or many shards do.

A sharded checkpoint has an index, `*.safetensors.index.json`, whose `weight_map` names the shard of each tensor:
`{"metadata": {"total_size": 123}, "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors", …}}`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.layout import TensorEntry
from conversion.formats.safetensors import MAX_TENSORS, read_header
from conversion.formats.source import ByteSource, read_exactly
from conversion.formats.strict_json import JsonWalker
from conversion.formats.weights import Rows, decode_rows

INDEX_SUFFIX = ".safetensors.index.json"
SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
MAX_INDEX_BYTES = 64_000_000
MAX_SHARD_NAME_CHARACTERS = 255

_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*\.safetensors")
_SHARD_OF_MANY = re.compile(r".*-\d{5,}-of-\d{5,}\.safetensors")


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
    metadata: dict[str, str]
    unlisted: tuple[str, ...] = ()
    sources: Mapping[str, ByteSource] = field(default_factory=dict, repr=False)

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
        entry = self.entries[name]
        n_rows = entry.n_elements // entry.shape[-1] if entry.shape and entry.shape[-1] else 1
        if entry.length % n_rows or not 0 <= first <= first + count <= n_rows:
            raise ValueError(f"tensor {name!r} of shape {entry.shape} has no rows {first} to {first + count}")
        row_bytes = entry.length // n_rows
        return self.read_bytes(name, first * row_bytes, count * row_bytes)

    def rows(self, name: str, first: int, count: int, out: Rows | None = None) -> Rows:
        """The same rows as float32 (count, n_cols); `out`, where given, is filled and returned."""
        return decode_rows(self.read_rows(name, first, count), self.entries[name], out)

    def read_bytes(self, name: str, start: int, length: int) -> bytes:
        """`length` bytes of a tensor from its byte `start` on."""
        entry = self.entries[name]
        source = self.sources[self.path_of[name]]
        what = f"tensor {quoted(name)} in {self.path_of[name]}"
        return read_exactly(source, entry.start + start, length, code="st-data-short", what=what)


def open_checkpoint(sources: Mapping[str, ByteSource]) -> Checkpoint:
    """The checkpoint among these files of one folder (path -> source; other files are ignored).

    `model.safetensors` wins, as it does for transformers; else the index and its shards; else the one safetensors
    file there is. Raises HeaderError: a header's own fault with the file in `where`, or `ck-…` for files that do not
    fit together.
    """
    if SINGLE_NAME in sources:
        return _open_files(sources, (SINGLE_NAME,), None)
    if (index_path := _index_path(sources)) is not None:
        weight_map = read_index(sources[index_path], index_path)
        shards = tuple(sorted(set(weight_map.values())))
        missing = [shard for shard in shards if shard not in sources]
        if missing:
            raise HeaderError(
                "ck-shard-missing",
                f"{len(missing)} of {len(shards)} shards are missing, first {quoted(missing[0])}",
                index_path,
            )
        return _open_files(sources, shards, weight_map)
    return _open_files(sources, (_only_file(sources),), None)


def read_index(source: ByteSource, path: str) -> dict[str, str]:
    """The `weight_map` of an index: tensor name -> shard, each shard a plain file name and safe to use as one."""
    if source.size_bytes > MAX_INDEX_BYTES:
        raise HeaderError(
            "ck-index-large", f"{source.size_bytes} bytes; an index may have at most {MAX_INDEX_BYTES}", path
        )
    data = read_exactly(source, 0, source.size_bytes, code="ck-index-short", what="the index")
    try:
        weight_map = _weight_map(JsonWalker(data, "ck"))
    except HeaderError as error:
        raise HeaderError(error.code, error.message, path) from error
    for shard in set(weight_map.values()):
        if not _SHARD_NAME.fullmatch(shard) or len(shard) > MAX_SHARD_NAME_CHARACTERS:
            raise HeaderError(
                "ck-shard-name", f"{quoted(shard)} is not a plain file name ending in .safetensors", path
            )
    return weight_map


def _weight_map(walker: JsonWalker) -> dict[str, str]:
    weight_map: dict[str, str] | None = None
    for key in walker.members():
        if key == "weight_map":
            weight_map = walker.strings(MAX_TENSORS)
        else:
            walker.small_value()
    walker.finish()
    if not weight_map:
        raise HeaderError("ck-index", "the index has no weight_map, or an empty one")
    return weight_map


def _index_path(sources: Mapping[str, ByteSource]) -> str | None:
    indexes = sorted(path for path in sources if path.endswith(INDEX_SUFFIX))
    if INDEX_NAME in indexes or len(indexes) == 1:
        return INDEX_NAME if INDEX_NAME in indexes else indexes[0]
    if indexes:
        raise HeaderError(
            "ck-ambiguous", f"{len(indexes)} indexes and none is {INDEX_NAME}: {', '.join(indexes)}"
        )
    return None


def _only_file(sources: Mapping[str, ByteSource]) -> str:
    files = sorted(path for path in sources if path.endswith(".safetensors"))
    if not files:
        raise HeaderError("ck-empty", "there is no safetensors file here")
    if len(files) == 1 and not _SHARD_OF_MANY.fullmatch(files[0]):
        return files[0]
    if any(_SHARD_OF_MANY.fullmatch(path) for path in files):
        raise HeaderError("ck-index-missing", f"{files[0]} is a shard, but there is no *{INDEX_SUFFIX}")
    raise HeaderError(
        "ck-ambiguous", f"{len(files)} safetensors files and neither {SINGLE_NAME} nor an index"
    )


def _open_files(
    sources: Mapping[str, ByteSource], paths: tuple[str, ...], weight_map: Mapping[str, str] | None
) -> Checkpoint:
    entries: dict[str, TensorEntry] = {}
    path_of: dict[str, str] = {}
    metadata: dict[str, str] = {}
    for path in paths:
        try:
            header = read_header(sources[path])
        except HeaderError as error:
            raise HeaderError(error.code, error.message, f"{path} {error.where}".strip()) from error
        metadata |= header.metadata
        for entry in header.entries:
            if entry.name in entries:
                raise HeaderError(
                    "ck-tensor-duplicate",
                    f"it is in {path_of[entry.name]} and in {path}",
                    f"tensor {quoted(entry.name)}",
                )
            entries[entry.name], path_of[entry.name] = entry, path
    _check_index(weight_map or path_of, path_of)
    unlisted = tuple(name for name in entries if weight_map is not None and name not in weight_map)
    return Checkpoint(entries, path_of, paths, metadata, unlisted, {path: sources[path] for path in paths})


def _check_index(weight_map: Mapping[str, str], path_of: Mapping[str, str]) -> None:
    for name, shard in weight_map.items():
        found = path_of.get(name)
        if found != shard:
            where_it_is = f"it is in {found}" if found else "no shard has it"
            raise HeaderError(
                "ck-tensor-missing", f"the index says {shard}, but {where_it_is}", f"tensor {quoted(name)}"
            )
