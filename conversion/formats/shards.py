"""Which files of a folder are one checkpoint, and whether they hold what their index says.

A sharded checkpoint has an index, `*.safetensors.index.json` or `*.bin.index.json`, whose `weight_map` names the shard
of each tensor: `{"metadata": {"total_size": 123}, "weight_map": {"lm_head.weight": "model-00002-of-00002.bin", …}}`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.layout import TensorEntry
from conversion.formats.safetensors import MAX_TENSORS
from conversion.formats.source import ByteSource, read_exactly
from conversion.formats.strict_json import JsonWalker

MAX_INDEX_BYTES = 64_000_000
MAX_SHARD_NAME_CHARACTERS = 255

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_SHARD_OF_MANY = re.compile(r".*-\d{5,}-of-\d{5,}\.[a-z]+")


@dataclass(frozen=True)
class Naming:
    """How one kind of checkpoint names its files: the whole, the endings that count, and the index of shards."""

    kind: str
    single: str
    suffixes: tuple[str, ...]
    index_suffix: str

    @property
    def index(self) -> str:
        return self.single.rpartition(".")[0] + self.index_suffix


SAFETENSORS = Naming("safetensors", "model.safetensors", (".safetensors",), ".safetensors.index.json")
PYTORCH = Naming("PyTorch", "pytorch_model.bin", (".bin", ".pt", ".pth", ".ckpt"), ".bin.index.json")


def choose_files(
    sources: Mapping[str, ByteSource], naming: Naming
) -> tuple[tuple[str, ...], dict[str, str] | None]:
    """The files to read, and the `weight_map` where an index chose them.

    The whole file wins, as it does for transformers; else the index and its shards; else the one file there is.
    """
    if naming.single in sources:
        return (naming.single,), None
    index_path = _index_path(sources, naming)
    if index_path is None:
        return (_only_file(sources, naming),), None
    weight_map = read_index(sources[index_path], index_path, naming)
    shards = tuple(sorted(set(weight_map.values())))
    missing = [shard for shard in shards if shard not in sources]
    if missing:
        raise HeaderError(
            "ck-shard-missing",
            f"{len(missing)} of {len(shards)} shards are missing, first {quoted(missing[0])}",
            index_path,
        )
    return shards, weight_map


def read_index(source: ByteSource, path: str, naming: Naming = SAFETENSORS) -> dict[str, str]:
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
        is_plain = _PLAIN_NAME.fullmatch(shard) and shard.endswith(naming.suffixes)
        if not is_plain or len(shard) > MAX_SHARD_NAME_CHARACTERS:
            raise HeaderError(
                "ck-shard-name",
                f"{quoted(shard)} is not a plain file name ending in {' or '.join(naming.suffixes)}",
                path,
            )
    return weight_map


def gathered(
    paths: Iterable[str],
    weight_map: Mapping[str, str] | None,
    read: Callable[[str], Iterable[TensorEntry]],
) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """Every tensor of these files by name, and its file; refused unless names are unique and the index is right.

    `read` gives the tensors of one file; its HeaderErrors get the file's name.
    """
    entries: dict[str, TensorEntry] = {}
    path_of: dict[str, str] = {}
    for path in paths:
        try:
            found = read(path)
        except HeaderError as error:
            raise HeaderError(error.code, error.message, f"{path} {error.where}".strip()) from error
        for entry in found:
            if entry.name in entries:
                raise HeaderError(
                    "ck-tensor-duplicate",
                    f"it is in {path_of[entry.name]} and in {path}",
                    f"tensor {quoted(entry.name)}",
                )
            entries[entry.name], path_of[entry.name] = entry, path
    _check_index(weight_map or path_of, path_of)
    return entries, path_of


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


def _index_path(sources: Mapping[str, ByteSource], naming: Naming) -> str | None:
    indexes = sorted(path for path in sources if path.endswith(naming.index_suffix))
    if naming.index in indexes or len(indexes) == 1:
        return naming.index if naming.index in indexes else indexes[0]
    if indexes:
        raise HeaderError(
            "ck-ambiguous", f"{len(indexes)} indexes and none is {naming.index}: {', '.join(indexes)}"
        )
    return None


def _only_file(sources: Mapping[str, ByteSource], naming: Naming) -> str:
    files = sorted(path for path in sources if path.endswith(naming.suffixes))
    if not files:
        raise HeaderError("ck-empty", f"there is no {naming.kind} file here")
    if len(files) == 1 and not _SHARD_OF_MANY.fullmatch(files[0]):
        return files[0]
    if any(_SHARD_OF_MANY.fullmatch(path) for path in files):
        raise HeaderError(
            "ck-index-missing", f"{files[0]} is a shard, but there is no *{naming.index_suffix}"
        )
    raise HeaderError(
        "ck-ambiguous", f"{len(files)} {naming.kind} files and neither {naming.single} nor an index"
    )


def _check_index(weight_map: Mapping[str, str], path_of: Mapping[str, str]) -> None:
    for name, shard in weight_map.items():
        found = path_of.get(name)
        if found != shard:
            where_it_is = f"it is in {found}" if found else "no shard has it"
            raise HeaderError(
                "ck-tensor-missing", f"the index says {shard}, but {where_it_is}", f"tensor {quoted(name)}"
            )
