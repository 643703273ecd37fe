"""The next token: always the likeliest, or drawn from the likeliest with a seed."""

import numpy as np
import pytest

from conversion.inference.engine import EngineError
from conversion.inference.speaking import draw

LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))


def test_top_p_keeps_the_likeliest_and_temperature_zero_the_first() -> None:
    dice = np.random.default_rng(1)
    assert {draw(LOGITS, 1.0, 0.79, dice) for _ in range(200)} == {0, 1}
    assert {draw(LOGITS, 1.0, 1.0, dice) for _ in range(400)} == {0, 1, 2, 3}
    assert {draw(LOGITS, 0.0, 1.0, dice) for _ in range(5)} == {0}


def test_the_same_seed_draws_the_same_and_the_shares_are_the_models() -> None:
    drawn = [[draw(LOGITS, 1.0, 1.0, dice) for _ in range(3000)]
             for dice in (np.random.default_rng(7), np.random.default_rng(7))]  # fmt: skip
    assert drawn[0] == drawn[1]
    shares = np.bincount(drawn[0]) / 3000
    assert np.abs(shares - [0.5, 0.3, 0.15, 0.05]).max() < 0.03


def test_logits_that_are_not_finite_are_no_distribution() -> None:
    with pytest.raises(EngineError, match="NaN or infinity") as error:
        draw(np.array([0.0, np.nan], np.float32), 1.0, 1.0, np.random.default_rng(1))
    assert error.value.code == "decode-failed"
