"""One flipped bit of a quantised tensor is found, and what is only rounded otherwise is not."""

import numpy as np
import pytest

from conversion.inference.distances import NOISE, quantised_by_us
from conversion.inference.strays import N_SUSPECTS, count_strays, suspects
from conversion.quants import dequantize

N_ROWS, N_COLS = 400, 256


@pytest.fixture(scope="module")
def theirs():
    rng = np.random.default_rng(1)
    rows = rng.normal(0, 0.02, (N_ROWS, N_COLS)) * rng.lognormal(0, 1, (N_ROWS, 1))
    rows[::7, 3] *= 30  # outliers, as real weights have
    return rows.astype(np.float32)


def strays(stored, theirs, kind):
    found = suspects(dequantize(stored, kind, N_COLS), theirs)
    own = quantised_by_us(np.stack([one.theirs for one in found]), kind)
    return count_strays(found, stored[[one.row for one in found]], own, kind, NOISE)


@pytest.mark.parametrize(("kind", "byte", "bit"), [
    ("Q8_0", 20, 6), ("Q8_0", 20, 3), ("Q8_0", 1, 3), ("Q4_0", 10, 3), ("Q4_0", 10, 7), ("Q4_K", 100, 7),
    ("Q6_K", 50, 3), ("F16", 9, 5), ("BF16", 9, 1),
])  # fmt: skip
def test_one_high_bit_among_a_hundred_thousand_weights_is_found(theirs, kind, byte, bit):
    stored = quantised_by_us(theirs, kind)
    assert strays(stored, theirs, kind) == 0
    stored[357, byte] ^= 1 << bit
    assert strays(stored, theirs, kind) == 1


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_the_last_bit_of_a_weight_is_what_another_compiler_may_round(theirs, kind):
    stored = quantised_by_us(theirs, kind)
    stored[::5, 7] ^= 1
    assert strays(stored, theirs, kind) == 0


def test_a_row_made_anew_is_another_row_and_a_piece_of_noise_is_damage(theirs):
    stored = quantised_by_us(theirs, "Q8_0")
    stored[12] = stored[99]
    assert strays(stored, theirs, "Q8_0") == 0
    stored[200, 10:60] = 77
    assert strays(stored, theirs, "Q8_0") == 2


def test_noise_in_the_only_block_of_a_row_is_damage(theirs):
    stored = quantised_by_us(theirs, "Q6_K")
    stored[27, 18:73] = np.frombuffer(np.random.default_rng(2).bytes(55), np.uint8)
    assert strays(stored, theirs, "Q6_K") > 0


def test_the_same_values_have_no_suspects_and_of_others_there_are_few(theirs):
    assert suspects(theirs, theirs) == []
    assert len(suspects(theirs * np.float32(1.01), theirs)) == N_SUSPECTS
