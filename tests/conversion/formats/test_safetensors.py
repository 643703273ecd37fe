"""Safetensors headers are read as the reference reads them, and refused wherever a byte is not as it should be."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from conversion.formats.errors import HeaderError
from conversion.formats.layout import stream_file
from conversion.formats.safetensors import DTYPE_BITS, plan_file, read_header
from conversion.formats.source import BytesSource, CountingSource, FileSource
from tests.fixtures.heads import HeadSource
from tests.fixtures.hostile.raw import st_entry, st_file

BYTE_DTYPES = sorted(dtype for dtype, bits in DTYPE_BITS.items() if bits >= 8)
names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 5), max_size=4)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[tuple[str, list[int], str]], dict[str, str]]:
    wanted = draw(st.lists(st.tuples(names, shapes, st.sampled_from(BYTE_DTYPES)), unique_by=lambda t: t[0]))
    return wanted, draw(st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"]), max_size=9)))


def written(tensors: list[tuple[str, list[int], str]], metadata: dict[str, str] | None = None) -> bytes:
    layout = plan_file(tensors, metadata)
    pieces = [(entry.name, [bytes([i % 251]) * entry.length]) for i, entry in enumerate(layout.entries)]
    return b"".join(stream_file(layout, pieces))


@given(files())
def test_what_we_plan_is_what_we_and_the_reference_read(
    planned: tuple[list[tuple[str, list[int], str]], dict[str, str]],
) -> None:
    tensors, metadata = planned
    data = written(tensors, metadata)
    header = read_header(BytesSource(data))
    assert header.metadata == metadata
    ours = {e.name: (list(e.shape), e.dtype, data[e.start : e.end]) for e in header.entries}
    assert ours == {n: (t["shape"], t["dtype"], bytes(t["data"])) for n, t in deserialize(data)}
    assert [(e.name, list(e.shape), e.dtype) for e in plan_file(tensors, metadata).entries] == tensors


def test_every_dtype_of_the_reference_is_known_and_no_other() -> None:
    for dtype in [*DTYPE_BITS, "F8_E4M3FN", "I4", "C128"]:
        n_bytes = DTYPE_BITS.get(dtype, 8)
        data = st_file({"a": st_entry(dtype, [8], 0, n_bytes)}, bytes(n_bytes))
        if dtype in DTYPE_BITS:
            assert deserialize(data)[0][1]["shape"] == [8]
            assert read_header(BytesSource(data)).entries[0].length == n_bytes
        else:
            with pytest.raises(SafetensorError):
                deserialize(data)


def test_our_bytes_are_the_bytes_the_reference_writes() -> None:
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.arange(4, dtype=np.float16)}
    theirs = save(arrays, metadata={"format": "pt"})
    header = read_header(BytesSource(theirs))
    layout = plan_file([(e.name, e.shape, e.dtype) for e in header.entries], header.metadata)
    assert b"".join(stream_file(layout, [(n, [arrays[n].tobytes()]) for n in ("b", "a")])) == theirs


def test_a_real_header_is_read_and_planned_again_to_the_byte() -> None:
    source = HeadSource("base-f32.safetensors")
    header = read_header(source)
    assert len(header.entries) == 30
    assert sum(entry.n_elements for entry in header.entries) == 2_295_552
    assert header.entries[0].name == "lm_head.weight"
    assert header.entries[0].shape == (1024, 256)
    assert header.metadata == {"format": "pt"}
    again = plan_file([(e.name, e.shape, e.dtype) for e in header.entries], header.metadata)
    assert again.header_bytes == source.head
    assert again.size_bytes == source.size_bytes


def test_a_header_costs_two_reads_whatever_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sparse.safetensors"
    layout = plan_file([("big", [2**32, 4], "BF16")])
    with path.open("wb") as file:
        file.write(layout.header_bytes)
        file.truncate(layout.size_bytes)  # 32 GiB of hole
    with FileSource(path) as file_source:
        source = CountingSource(file_source)
        assert read_header(source).entries == layout.entries
    assert source.n_reads == 2
    assert (
        source.bytes_read == len(layout.header_bytes) + 1
    )  # its first byte is looked at before the rest is read


SMALL = written([("a", [2, 2], "F16"), ("b.weight", [3], "F32"), ("empty", [0], "U8")], {"format": "pt"})


def test_a_file_cut_at_any_byte_is_refused() -> None:
    for length in range(len(SMALL)):
        with pytest.raises(HeaderError):
            read_header(BytesSource(SMALL[:length]))


def test_any_flipped_bit_is_refused_or_changes_only_what_it_says() -> None:
    """No crash, and never more accepted than the reference accepts."""
    good = {entry.name: entry for entry in read_header(BytesSource(SMALL)).entries}
    header_end = min(entry.start for entry in good.values())
    for position in range(header_end):
        for bit in range(8):
            data = bytearray(SMALL)
            data[position] ^= 1 << bit
            try:
                entries = read_header(BytesSource(bytes(data))).entries
            except HeaderError:
                continue
            theirs = {name: (tuple(t["shape"]), t["dtype"]) for name, t in deserialize(bytes(data))}
            assert {e.name: (e.shape, e.dtype) for e in entries} == theirs


@settings(deadline=None)
@given(st.data())
def test_arbitrary_header_text_raises_nothing_but_header_errors(data: st.DataObject) -> None:
    """Valid entries with pieces replaced: nearer to the truth than random bytes, so deeper in the parser."""
    text = bytearray(json.dumps({"a": st_entry("F32", [2], 0, 8), "__metadata__": {"k": "v"}}).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 4))] = data.draw(
            st.binary(max_size=4)
            | st.sampled_from([b"{", b"}", b'"', b",", b"[", b"]", b"\\u0000", b"-1", b"1e9"])
        )
    candidate = st_file(bytes(text), bytes(8))
    try:
        entries = read_header(BytesSource(candidate)).entries
    except HeaderError:
        return
    assert {entry.name for entry in entries} == {name for name, _ in deserialize(candidate)}


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ([("a", [1], "F32"), ("a", [1], "F32")], "the name is taken"),
        ([("__metadata__", [1], "F32")], "the name is taken"),
        ([("a", [1], "F128")], "unknown dtype 'F128'"),
        ([("a", [3], "F4")], "12 bits are not whole bytes"),
    ],
)
def test_a_plan_no_reader_would_accept_is_refused(
    tensors: list[tuple[str, list[int], str]], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        plan_file(tensors)


def test_a_refusal_names_the_tensor_the_number_and_what_is_allowed() -> None:
    data = st_file({"w.1": st_entry("F32", [2], 0, 8), "w.2": st_entry("F32", [2], 4, 12)}, bytes(12))
    with pytest.raises(HeaderError) as refused:
        read_header(BytesSource(data))
    start = struct.unpack("<Q", data[:8])[0] + 8
    assert str(refused.value) == (
        f"tensor 'w.2': its data starts at byte {start + 4}, inside what ends at {start + 8}"
    )
