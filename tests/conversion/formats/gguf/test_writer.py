"""A planned GGUF file is, byte for byte, what gguf-py writes, and what llama-quantize wrote."""

import io
from pathlib import Path

import gguf as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.formats import gguf
from conversion.formats.gguf import ValueType
from conversion.formats.layout import stream_file
from conversion.formats.source import BytesSource
from tests.fixtures.heads import HeadSource

plain_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=40)
numbers = {
    ValueType.UINT8: st.integers(0, 2**8 - 1),
    ValueType.INT16: st.integers(-(2**15), 2**15 - 1),
    ValueType.UINT32: st.integers(0, 2**32 - 1),
    ValueType.INT32: st.integers(-(2**31), 2**31 - 1),
    ValueType.UINT64: st.integers(0, 2**64 - 1),
    ValueType.FLOAT32: st.floats(width=32, allow_nan=False),
    ValueType.FLOAT64: st.floats(allow_nan=False),
    ValueType.BOOL: st.booleans(),
    ValueType.STRING: plain_text,
}
scalars = st.one_of([s.map(lambda v, k=kind: gguf.Value(k, v)) for kind, s in numbers.items()])
arrays = st.one_of(
    [
        st.lists(s, min_size=1, max_size=20).map(lambda v, k=kind: gguf.array(k, v))
        for kind, s in numbers.items()
    ]
)
metadatas = st.dictionaries(names.filter(lambda n: n != "general.alignment"), scalars | arrays, max_size=6)
tensor_lists = st.lists(
    st.tuples(
        names,
        st.lists(st.integers(1, 4), min_size=1, max_size=3),
        st.sampled_from(["F32", "F16", "Q8_0", "Q4_K"]),
    ),
    unique_by=lambda t: t[0],
    max_size=4,
).map(lambda ts: [(name, [*shape[:-1], shape[-1] * 256], kind) for name, shape, kind in ts])


@settings(deadline=None)
@given(metadatas, tensor_lists, st.sampled_from([32, 8, 64, 4096]))
def test_what_we_plan_is_what_we_read(
    metadata: dict[str, gguf.Value], tensors: list[tuple[str, list[int], str]], alignment: int
) -> None:
    layout = gguf.plan_file(metadata, tensors, alignment=alignment)
    pieces = [(entry.name, [bytes(entry.length)]) for entry in layout.entries]
    source = BytesSource(b"".join(stream_file(layout, pieces)))
    assert source.size_bytes == layout.size_bytes
    header = gguf.read_header(source)
    assert header.entries == layout.entries
    assert (header.data_start, header.alignment, header.trailing_bytes) == (layout.data_start, alignment, 0)
    read = {key: gguf.read_value(source, value) for key, value in header.metadata.items()}
    again = gguf.plan_file(read, tensors, alignment=alignment)
    assert again.header_bytes == layout.header_bytes


def test_the_bytes_are_those_of_gguf_py(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((3, 64)).astype(np.float32)
    quantized = reference.quants.quantize(matrix, reference.GGMLQuantizationType.Q8_0)
    writer = reference.GGUFWriter(tmp_path / "theirs.gguf", "llama")
    writer.add_uint32("llama.block_count", 3)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "häuser", "\u2581a"])
    writer.add_array("tokenizer.ggml.scores", [0.0, -1.5])
    writer.add_array("tokenizer.ggml.token_type", [3, 1, 1])
    writer.add_tensor("output_norm.weight", matrix[0])
    writer.add_tensor("blk.0.w", quantized, raw_dtype=reference.GGMLQuantizationType.Q8_0)
    writer.add_tensor("half", matrix[:, :5].astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    metadata = {
        "general.architecture": gguf.string("llama"),
        "llama.block_count": gguf.uint32(3),
        "llama.attention.layer_norm_rms_epsilon": gguf.float32(1e-5),
        "tokenizer.ggml.add_bos_token": gguf.boolean(True),
        "tokenizer.ggml.tokens": gguf.array(ValueType.STRING, ["<s>", "häuser", "\u2581a"]),
        "tokenizer.ggml.scores": gguf.array(ValueType.FLOAT32, [0.0, -1.5]),
        "tokenizer.ggml.token_type": gguf.array(ValueType.INT32, [3, 1, 1]),
    }
    layout = gguf.plan_file(
        metadata, [("output_norm.weight", [64], "F32"), ("blk.0.w", [3, 64], "Q8_0"), ("half", [3, 5], "F16")]
    )
    data = [matrix[0].tobytes(), quantized.tobytes(), matrix[:, :5].astype(np.float16).tobytes()]
    out = io.BytesIO()
    for piece in stream_file(layout, zip((e.name for e in layout.entries), ([d] for d in data), strict=True)):
        out.write(piece)
    assert out.getvalue() == (tmp_path / "theirs.gguf").read_bytes()


@pytest.mark.parametrize("name", ["base-Q8_0.gguf", "base-Q4_K_M.gguf"])
def test_a_real_header_is_planned_again_to_the_byte(name: str) -> None:
    source = HeadSource(name)
    header = gguf.read_header(source)
    metadata = {key: gguf.read_value(source, value) for key, value in header.metadata.items()}
    layout = gguf.plan_file(metadata, [(e.name, e.shape, e.dtype) for e in header.entries])
    assert layout.header_bytes == source.head
    assert layout.size_bytes == source.size_bytes
    assert layout.entries == header.entries


def test_an_alignment_of_its_own_is_written_down() -> None:
    layout = gguf.plan_file({"a": gguf.uint32(1)}, [("w", [4], "F32")], alignment=128)
    assert gguf.read_header(BytesSource(layout.header_bytes + bytes(128))).get("general.alignment") == 128


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ([("a", [8], "F32"), ("a", [8], "F32")], "appears twice"),
        ([("", [8], "F32")], "not a name of 1 to 63 bytes"),
        ([("ä" * 32, [8], "F32")], "not a name of 1 to 63 bytes"),
        ([("a", [8], "Q9_0")], "not a ggml type that can be written"),
        ([("a", [32], "Q4_0_4_4")], "not a ggml type that can be written"),
        ([("a", [48], "Q8_0")], "rows of 48 are not whole blocks of 32"),
        ([("a", [], "F32")], "1 to 4 dimensions"),
        ([("a", [1, 1, 1, 1, 8], "F32")], "1 to 4 dimensions"),
    ],
)
def test_a_plan_no_reader_would_accept_is_refused(
    tensors: list[tuple[str, list[int], str]], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        gguf.plan_file({}, tensors)


@pytest.mark.parametrize("alignment", [0, 24, -32])
def test_an_alignment_that_is_no_power_of_two_is_refused(alignment: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        gguf.plan_file({}, [], alignment=alignment)


def test_metadata_that_contradicts_the_alignment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"general\.alignment is 64, the file uses 32"):
        gguf.plan_file({"general.alignment": gguf.uint32(64)}, [])


def test_an_empty_array_is_refused_like_gguf_py_does() -> None:
    with pytest.raises(ValueError, match="leave the key out"):
        gguf.array(ValueType.STRING, [])


@pytest.mark.parametrize(
    "value",
    [
        gguf.array(ValueType.UINT32, [2**32]),
        gguf.array(ValueType.INT32, [1.5]),
        gguf.array(ValueType.STRING, [1]),
        gguf.array(ValueType.ARRAY, [[1]]),
        gguf.uint32(-1),
        gguf.Value(ValueType.STRING, 7),
    ],
)
def test_a_value_its_type_cannot_hold_is_refused_by_key(value: gguf.Value) -> None:
    with pytest.raises(ValueError, match=r"metadata 'the\.key' does not hold"):
        gguf.plan_file({"the.key": value}, [])
