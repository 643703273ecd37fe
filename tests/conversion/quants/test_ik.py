"""The types of ik_llama.cpp: rows with a scale of their own, however they are cut up; test_golden.py has the values."""

import numpy as np
import pytest

from conversion.quants import QuantError, dequantize, dequantize_into, quantize, row_bytes, type_by_name
from conversion.quants.ik import TYPES

WITH_HEADER = [name for name, kind in TYPES.items() if kind.row_header]
FLOAT_SCALES = [name for name in WITH_HEADER if type_by_name(name).row_header >= 4]


def random_rows(type_name: str, n_rows: int, n_cols: int) -> np.ndarray:
    """Any bytes will do for blocks; the scale of a row is its number plus one."""
    chance = np.random.default_rng(4)
    data = chance.integers(0, 256, (n_rows, row_bytes(type_name, n_cols)), dtype=np.uint8)
    scales = np.arange(1, n_rows + 1)
    if type_name in FLOAT_SCALES:
        data[:, :4] = scales.astype("<f4")[:, None].view(np.uint8)
    elif type_name in WITH_HEADER:
        data[:, :2] = scales.astype("<f2")[:, None].view(np.uint8)
    return data


@pytest.mark.parametrize("type_name", WITH_HEADER)
def test_a_row_is_decoded_by_its_own_scale_and_no_other(type_name: str) -> None:
    data = np.repeat(random_rows(type_name, 1, 512), 3, axis=0)
    data[:, :4] = random_rows(type_name, 3, 512)[:, :4] if type_name in FLOAT_SCALES else data[:, :4]
    if type_name not in FLOAT_SCALES:
        data[:, :2] = random_rows(type_name, 3, 512)[:, :2]
    values = dequantize(data, type_name, 512)
    assert values[0].any()
    assert (values[1] == 2 * values[0]).all()
    np.testing.assert_allclose(values[2], 3 * values[0], rtol=1e-6)


@pytest.mark.parametrize("type_name", TYPES)
def test_rows_come_out_alike_one_by_one_in_chunks_and_in_threads(type_name: str) -> None:
    """1,100 rows of 512 are three chunks."""
    data = random_rows(type_name, 1100, 512)
    whole = dequantize(data, type_name, 512)
    for row in (0, 511, 512, 1099):
        alone = dequantize(data[row : row + 1], type_name, 512)
        np.testing.assert_array_equal(alone[0], whole[row])
    np.testing.assert_array_equal(dequantize(data, type_name, 512, n_threads=2), whole)
    given = np.empty((100, 512), dtype=np.float32)
    dequantize_into(type_by_name(type_name), data[700:800], given)
    np.testing.assert_array_equal(given, whole[700:800])


@pytest.mark.parametrize("type_name", TYPES)
def test_none_of_them_is_made(type_name: str) -> None:
    with pytest.raises(QuantError, match="can be read but not made") as refused:
        quantize(np.ones((1, 256), dtype=np.float32), type_name)
    assert refused.value.code == "cannot-quantise"


def test_a_row_without_its_scale_is_refused() -> None:
    with pytest.raises(QuantError, match=r"136 bytes are not whole IQ4_KS rows of 140 bytes") as refused:
        dequantize(np.zeros(136, dtype=np.uint8), "IQ4_KS", 256)
    assert refused.value.code == "wrong-shape"


def test_no_rows_are_no_values() -> None:
    assert dequantize(np.zeros((0, 140), dtype=np.uint8), "IQ4_KS", 256).shape == (0, 256)
