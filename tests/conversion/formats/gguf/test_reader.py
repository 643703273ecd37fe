"""GGUF headers are read as llama.cpp's own tools read them, in bounded memory, and refused at the first lie."""

import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import gguf as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.formats import gguf
from conversion.formats.errors import HeaderError
from conversion.formats.gguf import ValueType
from conversion.formats.gguf.cursor import READ_AHEAD_BYTES
from conversion.formats.gguf.metadata import MAX_PREVIEW_BYTES
from conversion.formats.layout import stream_file
from conversion.formats.source import BytesSource, CountingSource, FileSource
from tests.fixtures.heads import HeadSource
from tests.fixtures.hostile.raw import gguf_array, gguf_file, gguf_pair, gguf_record, gguf_string


def small_file() -> bytes:
    layout = gguf.plan_file(
        {
            "general.architecture": gguf.string("llama"),
            "llama.block_count": gguf.uint32(2),
            "flag": gguf.boolean(True),
            "tokens": gguf.array(ValueType.STRING, ["a", "bc"]),
            "scores": gguf.array(ValueType.FLOAT32, [0.5, -1.0]),
        },
        [("norm.weight", [8], "F32"), ("w", [3, 32], "Q8_0")],
    )
    pieces = [(entry.name, [b"\x01" * entry.length]) for entry in layout.entries]
    return b"".join(stream_file(layout, pieces))


SMALL = small_file()


@pytest.mark.parametrize("name", ["base-Q8_0.gguf", "base-Q4_K_M.gguf"])
def test_a_real_header_is_read_as_the_gguf_package_reads_it(name: str, tmp_path: Path) -> None:
    source = HeadSource(name)
    path = tmp_path / name
    path.write_bytes(source.read(0, source.size_bytes))
    header, theirs = gguf.read_header(source), reference.GGUFReader(path)
    assert (header.data_start, header.alignment) == (theirs.data_offset, theirs.alignment)
    ours = [(e.name, e.dtype, list(e.shape), e.start, e.length) for e in header.entries]
    assert ours == [
        (t.name, t.tensor_type.name, t.shape.tolist()[::-1], t.data_offset, t.n_bytes) for t in theirs.tensors
    ]
    for key, value in header.metadata.items():
        assert gguf.read_value(source, value).value == pytest.approx(theirs.fields[key].contents())
    assert header.trailing_bytes == 0


def test_a_header_says_what_inspection_wants_to_know() -> None:
    header = gguf.read_header(HeadSource("base-Q8_0.gguf"))
    assert header.version == 3
    assert header.get("general.architecture") == "llama"
    assert header.get("llama.context_length") == 512
    assert header.get("no.such.key", "nothing") == "nothing"
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert (tokens.type, tokens.element_type, tokens.length) == (ValueType.ARRAY, ValueType.STRING, 1024)
    assert tokens.preview[:4] == ("<unk>", "<s>", "</s>", "<0x00>")
    assert not tokens.is_complete


@pytest.fixture
def large_vocabulary(tmp_path: Path) -> Iterator[FileSource]:
    tokens = [f"token number {i}" for i in range(150_000)]
    layout = gguf.plan_file(
        {
            "tokenizer.ggml.tokens": gguf.array(ValueType.STRING, tokens),
            "tokenizer.ggml.scores": gguf.array(ValueType.FLOAT32, [0.0] * 150_000),
            "template": gguf.string("x" * 1_000_000),
        },
        [("w", [2**20, 4096], "F32")],
    )
    path = tmp_path / "large.gguf"
    with path.open("wb") as file:
        file.write(layout.header_bytes)
        file.truncate(layout.size_bytes)  # 16 GiB of hole
    with FileSource(path) as source:
        yield source


def test_a_large_vocabulary_is_summarised_in_little_memory(large_vocabulary: FileSource) -> None:
    source = CountingSource(large_vocabulary)
    tracemalloc.start()
    header = gguf.read_header(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * READ_AHEAD_BYTES
    assert source.bytes_read < header.data_start + READ_AHEAD_BYTES
    assert source.n_reads < 30
    assert header.metadata["tokenizer.ggml.tokens"].length == 150_000
    template = header.metadata["template"]
    assert (template.length, len(template.preview), template.is_complete) == (
        1_000_000,
        MAX_PREVIEW_BYTES,
        False,
    )


def test_a_summarised_value_can_be_read_in_full(large_vocabulary: FileSource) -> None:
    header = gguf.read_header(large_vocabulary)
    tokens = gguf.read_value(large_vocabulary, header.metadata["tokenizer.ggml.tokens"])
    assert (len(tokens.value), tokens.value[-1]) == (150_000, "token number 149999")
    assert gguf.read_value(large_vocabulary, header.metadata["template"]).value == "x" * 1_000_000


def test_version_2_and_an_alignment_of_its_own_are_read() -> None:
    alignment = gguf_pair("general.alignment", 4, struct.pack("<I", 64))
    records = [gguf_record("a", [4], 0, 0), gguf_record("b", [2, 3], 0, 64)]
    data = gguf_file([alignment], records, bytes(64 + 24), version=struct.pack("<I", 2), alignment=64)
    header = gguf.read_header(BytesSource(data))
    assert (header.version, header.alignment, header.data_start % 64) == (2, 64, 0)
    assert header.entries[1].shape == (3, 2)
    assert header.entries[1].end == len(data)  # padding after the last tensor may be missing


def test_bytes_after_the_last_tensor_are_counted() -> None:
    assert gguf.read_header(BytesSource(SMALL + b"trailer")).trailing_bytes == 7


def test_a_withdrawn_type_is_located_all_the_same() -> None:
    data = gguf_file([], [gguf_record("a", [64, 4], 31, 0), gguf_record("b", [1], 0, 160)], bytes(160 + 32))
    header = gguf.read_header(BytesSource(data))
    assert [(e.dtype, e.length) for e in header.entries] == [("Q4_0_4_4", 144), ("F32", 4)]


def test_text_that_is_not_utf8_survives_reading_and_writing() -> None:
    pairs = [
        gguf_pair("text", 8, gguf_string(b"\xff\xfeok")),
        gguf_pair("more", 9, gguf_array(8, 1, gguf_string(b"\xc3"))),
    ]
    data = gguf_file(pairs)
    source = BytesSource(data)
    header = gguf.read_header(source)
    again = gguf.plan_file({k: gguf.read_value(source, v) for k, v in header.metadata.items()}, [])
    assert again.header_bytes == data


def test_an_empty_array_is_read() -> None:
    header = gguf.read_header(BytesSource(gguf_file([gguf_pair("none", 9, gguf_array(8, 0, b""))])))
    assert header.metadata["none"].length == 0
    assert header.metadata["none"].is_complete


def test_a_file_cut_at_any_byte_is_refused() -> None:
    last = gguf.read_header(BytesSource(SMALL)).entries[-1]
    for length in range(last.end):
        with pytest.raises(HeaderError):
            gguf.read_header(BytesSource(SMALL[:length]))


def test_any_flipped_bit_is_refused_or_read_without_harm() -> None:
    """Whatever is accepted lies inside the file, in order and without overlap."""
    data_start = gguf.read_header(BytesSource(SMALL)).data_start
    for position in range(data_start):
        for bit in range(8):
            data = bytearray(SMALL)
            data[position] ^= 1 << bit
            assert_harmless(bytes(data))


@settings(deadline=None)
@given(st.data())
def test_mutated_headers_raise_nothing_but_header_errors(data: st.DataObject) -> None:
    candidate = bytearray(SMALL)
    numbers = st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**61, 2**63, 2**64 - 1])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(candidate) - 8))
        piece = data.draw(st.binary(max_size=8) | numbers.map(lambda n: struct.pack("<Q", n)))
        candidate[at : at + len(piece)] = piece
    assert_harmless(bytes(candidate))


def assert_harmless(data: bytes) -> None:
    try:
        header = gguf.read_header(BytesSource(data))
    except HeaderError:
        return
    position = header.data_start
    for entry in header.entries:
        assert position <= entry.start <= entry.end <= len(data)
        position = entry.end
    for value in header.metadata.values():
        assert np.size(value.preview) <= 8


def test_a_value_too_large_to_load_is_refused_by_name() -> None:
    header = gguf.read_header(BytesSource(SMALL))
    huge = gguf.MetadataValue(ValueType.STRING, "", 2**40, 0, 2**40)
    with pytest.raises(HeaderError) as refused:
        gguf.read_value(BytesSource(SMALL), huge)
    assert refused.value.code == "gguf-value-large"
    assert gguf.read_value(BytesSource(SMALL), header.metadata["scores"]).value == [0.5, -1.0]


def test_a_refusal_names_the_tensor_the_number_and_what_is_allowed() -> None:
    data = gguf_file([], [gguf_record("w.1", [8], 0, 0), gguf_record("w.2", [8], 0, 64)], bytes(128))
    with pytest.raises(HeaderError) as refused:
        gguf.read_header(BytesSource(data))
    assert str(refused.value) == (
        "tensor 'w.2': offset 64 leaves a gap after what precedes it, which ends at 32"
    )
