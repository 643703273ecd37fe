"""The grids of the IQ types: their points, and the neighbours that ggml would list for every code."""

import numpy as np
import pytest

from conversion.quants.grids import N_DISTANCES, grid
from tests import naive_iq12 as naive

SHAPES = {"IQ2_XXS": (256, 8), "IQ2_XS": (512, 8), "IQ2_S": (1024, 8), "IQ1_S": (2048, 8), "IQ1_M": (2048, 8),
          "IQ3_XXS": (256, 4), "IQ3_S": (512, 4)}  # fmt: skip


@pytest.mark.parametrize("type_name", SHAPES)
def test_every_point_has_a_code_of_its_own_that_leads_back_to_it(type_name: str) -> None:
    found = grid(type_name)
    assert found.digits.shape == SHAPES[type_name]
    assert (np.bincount(found.point_at + 1)[1:] == 1).all()
    for code in np.flatnonzero(found.point_at >= 0)[:100].tolist():
        digits = naive.digits_of(code, SHAPES[type_name][1], found.digit_bits)
        assert digits == tuple(found.digits[found.point_at[code]])
        assert found.count[code] == 0


@pytest.mark.parametrize("type_name", N_DISTANCES)
def test_neighbours_come_by_distance_then_number_as_ggml_lists_them(type_name: str) -> None:
    found = grid(type_name)
    points = naive.points_of(found.digits)
    beside = np.flatnonzero(found.count)
    assert len(beside) == len(found.levels) ** SHAPES[type_name][1] - len(points)
    for code in np.random.default_rng(3).choice(beside, 12, replace=False).tolist():
        place = naive.digits_of(code, SHAPES[type_name][1], found.digit_bits)
        listed = found.neighbours[found.first[code] :][: found.count[code]].tolist()
        assert listed == naive.neighbours(points, place, N_DISTANCES[type_name])


def test_points_decode_to_the_levels_of_their_digits() -> None:
    assert grid("IQ2_XXS").values[1].tolist() == [43.0] + [8.0] * 7
    assert grid("IQ1_S").values[0].tolist() == [-1.0] * 8
    assert grid("IQ3_S").values[1].tolist() == [3.0, 1.0, 1.0, 1.0]


def test_a_grid_is_built_once_and_cannot_be_changed() -> None:
    assert grid("IQ1_M") is grid("IQ1_S")
    with pytest.raises(ValueError, match="read-only"):
        grid("IQ2_XXS").neighbours[0] = 1
