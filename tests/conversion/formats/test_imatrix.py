"""Importance matrices in both forms: read as llama-quantize reads them, and refused before they can do harm."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.formats.errors import HeaderError
from conversion.formats.imatrix import Imatrix, open_imatrix
from conversion.formats.source import BytesSource, CountingSource
from tests.fixtures.requantised.models import DATASET, N_CHUNKS, binary_imatrix, gguf_imatrix

SUMS = {
    "blk.0.attn_q.weight": np.arange(64, dtype=np.float32).reshape(1, 64),
    "blk.0.ffn_up_exps.weight": np.arange(96, dtype=np.float32).reshape(3, 32),
}
FORMS = {"gguf": gguf_imatrix(SUMS, 3), "binary": binary_imatrix(SUMS, 7)}


def opened(data: bytes) -> Imatrix:
    return open_imatrix(BytesSource(data), "here.gguf")


@pytest.mark.parametrize("form", FORMS)
def test_entries_fit_their_weights_and_know_where_they_come_from(form: str) -> None:
    imatrix = opened(FORMS[form])
    assert imatrix.entries.keys() == SUMS.keys()
    assert (imatrix.datasets, imatrix.n_chunks, imatrix.file) == ((DATASET,), N_CHUNKS, "here.gguf")
    assert imatrix.fits("blk.0.attn_q.weight", (8, 64))
    assert imatrix.fits("blk.0.ffn_up_exps.weight", (3, 8, 32))
    assert not imatrix.fits("blk.0.attn_q.weight", (8, 32))
    assert not imatrix.fits("blk.0.ffn_up_exps.weight", (8, 32))
    assert not imatrix.fits("output.weight", (8, 64))


def test_weights_are_sums_over_counts_in_float32_and_each_expert_has_its_own() -> None:
    new, old = opened(FORMS["gguf"]), opened(FORMS["binary"])
    third = SUMS["blk.0.ffn_up_exps.weight"][2]
    assert np.array_equal(new.vector("blk.0.ffn_up_exps.weight", 2, 32), third / np.float32(3))
    again = (third * np.float32(7)).astype(np.float32) / np.float32(7)
    assert np.array_equal(old.vector("blk.0.ffn_up_exps.weight", 2, 32), again)


def test_an_expert_that_nobody_was_sent_to_weighs_all_columns_alike() -> None:
    assert np.array_equal(
        opened(gguf_imatrix(SUMS, 0)).vector("blk.0.ffn_up_exps.weight", 1, 32), np.ones(32)
    )


def test_a_binary_file_may_end_after_its_entries() -> None:
    without = FORMS["binary"][: -(8 + len(DATASET))]
    assert (opened(without).datasets, opened(without).n_chunks) == ((), 0)


def test_opening_reads_each_byte_of_the_values_once_and_keeps_none() -> None:
    source = CountingSource(BytesSource(binary_imatrix({"w": np.ones((1, 1 << 20), np.float32)}, 1)))
    open_imatrix(source)
    assert source.bytes_read < source.size_bytes + 4096


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_anywhere_is_refused(form: str) -> None:
    data = FORMS[form]
    ends = {len(FORMS["binary"]) - 8 - len(DATASET), len(FORMS["binary"]) - 4 - len(DATASET)}
    for end in range(
        len(data) - 31 if form == "gguf" else len(data)
    ):  # GGUF ends in padding that nobody needs
        if form == "binary" and end in ends:
            continue  # what follows the entries, and what follows the number of chunks, may be absent
        with pytest.raises(HeaderError):
            opened(data[:end])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "im-truncated"),
        (struct.pack("<i", 0), "im-entry-count"),
        (struct.pack("<i", -5), "im-entry-count"),
        (struct.pack("<i", 2**31 - 1), "im-entry-count"),
        (struct.pack("<ii", 1, 2**31 - 1) + bytes(20), "im-name"),
        (struct.pack("<ii", 1, -1) + bytes(20), "im-name"),
        (struct.pack("<ii", 1, 1) + b"w" + struct.pack("<ii", 1, 2**31 - 1) + bytes(8), "im-truncated"),
        (struct.pack("<ii", 1, 1) + b"w" + struct.pack("<ii", 1, -1) + bytes(8), "im-entry"),
        (struct.pack("<ii", 1, 0) + struct.pack("<ii", 1, 1) + bytes(12), "im-entry"),
        (binary_imatrix({"w": np.full((1, 4), np.nan, np.float32)}, 1), "im-not-finite"),
        (gguf_imatrix({"w": np.full((1, 4), np.inf, np.float32)}, 1), "im-not-finite"),
        (gguf_imatrix({}, 1), "im-empty"),
        (gguf_imatrix(SUMS, 1).replace(b".counts", b".amount"), "im-pair"),
        (gguf_imatrix(SUMS, 1).replace(b"chunk_size", b"chunk_nice"), "im-metadata"),
    ],
)
def test_what_is_no_importance_matrix_is_refused_with_a_code(data: bytes, code: str) -> None:
    with pytest.raises(HeaderError) as refused:
        opened(data)
    assert refused.value.code == code


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused_and_never_crash(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(list(FORMS.values()))))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, min(len(damaged) - 1, 400)))] = data.draw(st.integers(0, 255))
    try:
        imatrix = opened(bytes(damaged))
    except HeaderError:
        return
    for name, entry in imatrix.entries.items():
        assert len(imatrix.vector(name, 0, entry.n_values)) == entry.n_values
