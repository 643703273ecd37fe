"""A checkpoint is opened whole, or refused with the file and tensor that do not fit."""

import json
from collections.abc import Mapping

import pytest

from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.errors import HeaderError
from conversion.formats.layout import stream_file
from conversion.formats.safetensors import plan_file
from conversion.formats.shards import MAX_INDEX_BYTES
from conversion.formats.source import BytesSource, CountingSource, RangeSource

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def shard(**tensors: bytes) -> bytes:
    layout = plan_file(
        [(name, [len(data) // 2, 2], "U8") for name, data in tensors.items()], {"format": "pt"}
    )
    return b"".join(stream_file(layout, [(name, [data]) for name, data in tensors.items()]))


def index(**weight_map: str) -> bytes:
    return json.dumps({"metadata": {"total_size": 12.5e3}, "weight_map": weight_map}).encode()


def sources(files: Mapping[str, bytes]) -> dict[str, BytesSource]:
    return {path: BytesSource(data) for path, data in files.items()}


SHARDED = {
    INDEX: index(a=FIRST, b=SECOND, c=SECOND),
    FIRST: shard(a=b"aaaaaa"),
    SECOND: shard(b=b"bb", c=b"cccc"),
    "config.json": b"{}",
}


def test_a_sharded_checkpoint_reads_like_one_file() -> None:
    checkpoint = open_checkpoint(sources(SHARDED))
    assert checkpoint.paths == (FIRST, SECOND)
    assert checkpoint.path_of == {"a": FIRST, "b": SECOND, "c": SECOND}
    assert list(checkpoint.entries) == ["a", "b", "c"]
    assert checkpoint.read_tensor("c") == b"cccc"
    assert (checkpoint.n_parameters, checkpoint.size_bytes, checkpoint.unlisted) == (12, 12, ())
    assert checkpoint.metadata == {"format": "pt"}


def test_a_single_file_is_a_checkpoint() -> None:
    checkpoint = open_checkpoint(sources({"adapter_model.safetensors": shard(a=b"aa"), "README.md": b"#"}))
    assert checkpoint.paths == ("adapter_model.safetensors",)
    assert checkpoint.read_tensor("a") == b"aa"


def test_the_whole_file_wins_over_shards_beside_it() -> None:
    checkpoint = open_checkpoint(sources({**SHARDED, "model.safetensors": shard(z=b"zz")}))
    assert list(checkpoint.entries) == ["z"]


def test_a_tensor_is_read_by_rows() -> None:
    checkpoint = open_checkpoint(sources({"model.safetensors": shard(a=b"001122334455")}))
    assert checkpoint.read_rows("a", 2, 3) == b"223344"
    assert checkpoint.read_rows("a", 6, 0) == b""
    with pytest.raises(ValueError, match="no rows 5 to 7"):
        checkpoint.read_rows("a", 5, 2)


def test_a_tensor_that_the_index_forgot_is_kept_and_named() -> None:
    files = {**SHARDED, SECOND: shard(b=b"bb", c=b"cccc", extra=b"xx")}
    checkpoint = open_checkpoint(sources(files))
    assert checkpoint.unlisted == ("extra",)
    assert checkpoint.read_tensor("extra") == b"xx"


NESTED = b'{"weight_map":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001

REFUSED: dict[str, tuple[str, dict[str, bytes]]] = {
    "no weights": ("ck-empty", {"config.json": b"{}"}),
    "two files and no index": ("ck-ambiguous", {"a.safetensors": b"", "b.safetensors": b""}),
    "two indexes": ("ck-ambiguous", {f"a{INDEX}": b"", f"b{INDEX}": b""}),
    "shards without an index": ("ck-index-missing", {FIRST: SHARDED[FIRST], SECOND: SHARDED[SECOND]}),
    "one shard alone": ("ck-index-missing", {FIRST: SHARDED[FIRST]}),
    "missing shard": ("ck-shard-missing", {path: data for path, data in SHARDED.items() if path != SECOND}),
    "tensor not in its shard": ("ck-tensor-missing", {**SHARDED, SECOND: shard(b=b"bb")}),
    "tensor in another shard": (
        "ck-tensor-missing",
        {**SHARDED, INDEX: index(a=FIRST, b=SECOND, c=FIRST)},
    ),
    "tensor in two shards": ("ck-tensor-duplicate", {**SHARDED, FIRST: shard(a=b"aa", b=b"bb")}),
    "tensor named twice by the index": (
        "ck-duplicate-key",
        {**SHARDED, INDEX: f'{{"weight_map":{{"a":"{FIRST}","a":"{SECOND}"}}}}'.encode()},
    ),
    "two weight maps": ("ck-duplicate-key", {**SHARDED, INDEX: b'{"weight_map":{},"weight_map":{}}'}),
    "a shard of the index is hostile": ("st-truncated", {**SHARDED, SECOND: b"1234"}),
    "empty index": ("ck-json", {INDEX: b""}),
    "index without weights": ("ck-index", {INDEX: b'{"weight_map":{}}'}),
    "index is a list": ("ck-json", {INDEX: b"[]"}),
    "index of numbers": ("ck-json", {INDEX: b'{"weight_map":{"a":1}}'}),
    "index nested 100,000 deep": ("ck-json", {INDEX: NESTED}),
    "index is not UTF-8": ("ck-utf8", {INDEX: b'{"weight_map":{"\xff":""}}'}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_do_not_fit_together_are_refused(name: str) -> None:
    code, files = REFUSED[name]
    with pytest.raises(HeaderError) as refused:
        open_checkpoint(sources(files))
    assert refused.value.code == code


@pytest.mark.parametrize(
    "shard_name",
    ["../a.safetensors", "/etc/a.safetensors", "a/b.safetensors", "a\\b.safetensors", "..", "", "a.bin",
     "a.safetensors\0", "-rf.safetensors", "a.safetensors ", "x" * 300 + ".safetensors"],
)  # fmt: skip
def test_a_shard_name_that_is_no_plain_file_name_is_refused(shard_name: str) -> None:
    with pytest.raises(HeaderError) as refused:
        open_checkpoint(sources({INDEX: index(a=shard_name), shard_name: shard(a=b"aa")}))
    assert refused.value.code == "ck-shard-name"


def test_an_index_beyond_the_limit_is_refused_unread() -> None:
    huge = CountingSource(RangeSource(MAX_INDEX_BYTES + 1, lambda start, length: bytes(length)))
    with pytest.raises(HeaderError) as refused:
        open_checkpoint({INDEX: huge})
    assert (refused.value.code, huge.bytes_read) == ("ck-index-large", 0)


def test_a_hostile_shard_is_named() -> None:
    with pytest.raises(HeaderError, match=rf"^{SECOND}"):
        open_checkpoint(sources({**SHARDED, SECOND: b"1234"}))
