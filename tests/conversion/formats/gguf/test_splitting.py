"""A GGUF is split as llama-gguf-split splits it, opened as one, and merged back to the byte."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from conversion.formats import gguf
from conversion.formats.errors import HeaderError
from conversion.formats.gguf import ValueType
from conversion.formats.gguf.splitting import copied, plan_merge, plan_split, split_keys
from conversion.formats.gguf.weights import GgufWeights, open_gguf
from conversion.formats.layout import FileLayout, stream_file
from conversion.formats.source import BytesSource
from tests.conversion.formats.gguf import gguf_split

TENSORS = [
    ("token_embd.weight", [8, 32], "Q8_0"),
    ("blk.0.attn_q.weight", [4, 8], "F32"),
    ("blk.0.attn_norm.weight", [5], "F32"),
    ("blk.1.attn_q.weight", [4, 8], "F16"),
    ("output.weight", [8, 32], "F32"),
]
METADATA = {
    "general.architecture": gguf.string("llama"),
    "llama.block_count": gguf.uint32(2),
    "tokens": gguf.array(ValueType.STRING, [f"token {n}" for n in range(40)]),
    "general.file_type": gguf.uint32(7),
}


def written(layout: FileLayout) -> bytes:
    pieces = ((e.name, [bytes([len(e.name) * 7 % 251]) * e.length]) for e in layout.entries)
    return b"".join(stream_file(layout, pieces))


WHOLE = written(gguf.plan_file(METADATA, TENSORS))


def opened(files: Mapping[str, bytes]) -> GgufWeights:
    return open_gguf({path: BytesSource(data) for path, data in files.items()})


def parts_of(max_bytes: int = 0, max_tensors: int = 0) -> dict[str, bytes]:
    source = opened({"model.gguf": WHOLE})
    planned = [(entry.name, entry.shape, entry.dtype) for entry in source.entries.values()]
    split = plan_split(source.read_metadata(), planned, "model", max_bytes=max_bytes, max_tensors=max_tensors)
    return {path: b"".join(copied(source, layout)) for path, layout in split.parts.items()}


@pytest.mark.parametrize(
    "limit", [{"max_tensors": 2}, {"max_tensors": 1}, {"max_tensors": 9}, {"max_bytes": 500}]
)
def test_parts_have_the_bytes_of_llama_gguf_split(limit: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "whole.gguf"
    path.write_bytes(WHOLE)
    assert list(parts_of(**limit).values()) == gguf_split.split(path, **limit)


def test_a_split_model_reads_like_the_whole_one_and_merges_back_to_it() -> None:
    files = parts_of(max_tensors=2)
    assert list(files) == [f"model-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    whole, split = opened({"model.gguf": WHOLE}), opened(files)
    assert list(split.entries) == list(whole.entries)
    for name, entry in whole.entries.items():
        assert split.read_bytes(name, 0, entry.length) == whole.read_bytes(name, 0, entry.length)
    assert (split.rows("blk.1.attn_q.weight", 1, 2) == whole.rows("blk.1.attn_q.weight", 1, 2)).all()
    assert b"".join(copied(split, plan_merge(split))) == WHOLE


def test_a_merge_can_keep_what_llama_gguf_split_leaves_behind() -> None:
    split = opened(parts_of(max_tensors=2))
    merged = b"".join(copied(split, plan_merge(split, keep_split_keys=True)))
    assert list(opened({"merged.gguf": merged}).read_metadata())[-3:] == list(split_keys(0, 0, 5))


def test_the_first_part_can_hold_metadata_alone() -> None:
    split = plan_split(METADATA, TENSORS, "m", max_tensors=3, no_tensor_first=True)
    assert [len(layout.entries) for layout in split.parts.values()] == [0, 3, 2]
    files = {path: written(layout) for path, layout in split.parts.items()}
    assert split.size_bytes == sum(map(len, files.values()))
    assert list(opened(files).entries) == [name for name, _, _ in TENSORS]


def test_an_alignment_of_its_own_survives_splitting_and_merging() -> None:
    aligned = {"general.alignment": gguf.uint32(128), **METADATA}
    split = plan_split(aligned, TENSORS, "m", max_tensors=2, alignment=128)
    merged = plan_merge(opened({path: written(layout) for path, layout in split.parts.items()}))
    assert merged.header_bytes == gguf.plan_file(aligned, TENSORS, alignment=128).header_bytes


@pytest.mark.parametrize("limits", [{}, {"max_bytes": 1, "max_tensors": 1}, {"max_tensors": -1}])
def test_a_split_needs_one_limit(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="max_bytes or max_tensors"):
        plan_split(METADATA, TENSORS, "m", **limits)


FIRST, SECOND, THIRD = parts_of(max_tensors=2)
PARTS = parts_of(max_tensors=2)
OTHERS = [(f"other.{n}", [8], "F32") for n in range(5)]
REFUSED: dict[str, tuple[str, dict[str, bytes]]] = {
    "no GGUF": ("ck-empty", {"a.bin": b"", "b.bin": b""}),
    "two models": ("ck-ambiguous", {"a.gguf": WHOLE, "b.gguf": WHOLE}),
    "a model beside a split one": ("ck-ambiguous", {**PARTS, "z.gguf": WHOLE}),
    "a missing part": ("ck-shard-missing", {FIRST: PARTS[FIRST], THIRD: PARTS[THIRD]}),
    "one part alone": ("ck-shard-missing", {SECOND: PARTS[SECOND]}),
    "parts in each other's place": ("gguf-split", {**PARTS, SECOND: PARTS[THIRD], THIRD: PARTS[SECOND]}),
    "whole files under the names of parts": (
        "gguf-split",
        {"m-00001-of-00002.gguf": WHOLE, "m-00002-of-00002.gguf": written(gguf.plan_file({}, TENSORS[:0]))},
    ),
    "a part under a name of its own": ("gguf-split", {"model.gguf": PARTS[SECOND]}),
    "the same tensor in two parts": ("ck-tensor-duplicate", {**PARTS, THIRD: PARTS[SECOND]}),
    "a part of another model": (
        "gguf-split",
        {**PARTS, THIRD: written(plan_split({}, OTHERS, "m", max_tensors=1).parts["m-00003-of-00005.gguf"])},
    ),
    "a part cut short": ("gguf-data-short", {**PARTS, SECOND: PARTS[SECOND][:-40]}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_parts_that_do_not_fit_together_are_refused(name: str) -> None:
    code, files = REFUSED[name]
    with pytest.raises(HeaderError) as refused:
        opened(files)
    assert refused.value.code == code


def test_a_count_of_tensors_that_lies_is_refused() -> None:
    lying = plan_split({}, TENSORS[:4], "m", max_tensors=2).parts
    count = {**split_keys(1, 2, 4)}
    short = gguf.plan_file(count, TENSORS[2:3])
    files = {path: written(layout) for path, layout in lying.items()} | {
        "m-00002-of-00002.gguf": written(short)
    }
    with pytest.raises(HeaderError, match=r"split\.tensors\.count is 4, but there are 3 tensors"):
        opened(files)
