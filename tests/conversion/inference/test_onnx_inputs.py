"""Inputs for unknown networks: the same everywhere, of sizes that are tried in turn, and never large."""

import math

import numpy as np
import pytest

from conversion.formats.onnx import Port
from conversion.inference.onnx_inputs import (
    MAX_ELEMENTS,
    SIZES,
    Feed,
    feeds_to_try,
    has_free_dimensions,
    settled,
    values_of,
)


def test_a_batch_is_one_wherever_its_name_stands() -> None:
    inputs = [Port("x", "F32", ("n", "length")), Port("state", "F32", (2, "n", 128))]
    first = next(feeds_to_try(inputs))
    assert [feed.shape for feed in first] == [(1, SIZES[0]), (2, 1, 128)]
    assert {feeds[0].shape[1] for feeds in feeds_to_try(inputs)} == set(SIZES)


def test_states_without_names_are_tried_with_ones() -> None:
    inputs = [Port("x", "F32", ("", "")), Port("state", "F32", (2, "", 128))]
    assert ((1, 512), (2, 1, 128)) in [tuple(feed.shape for feed in feeds) for feeds in feeds_to_try(inputs)]


def test_a_network_without_free_dimensions_is_tried_once_a_style() -> None:
    floats, ids = Port("x", "F32", (1, 4)), Port("ids", "I64", (1, 4))
    assert len(list(feeds_to_try([floats]))) == 1
    assert [feeds[1].style for feeds in feeds_to_try([floats, ids])] == ["small", "zeros"]
    assert not has_free_dimensions([floats, ids])
    assert has_free_dimensions([Port("x", "F32", (1, "n"))])


def test_nothing_large_and_nothing_unheard_of_is_made() -> None:
    cube = [Port("x", "F32", (1, "a", "b", "c"))]
    for feeds in feeds_to_try(cube):
        assert math.prod(feeds[0].shape) <= MAX_ELEMENTS
    assert not list(feeds_to_try([Port("x", "F32", (2**40,))]))
    assert not list(feeds_to_try([Port("x", "STRING", (1,))]))
    assert not list(feeds_to_try([Port("x", "", None)]))


@pytest.mark.parametrize(
    ("feed", "expected"),
    [
        (Feed("attention_mask", "I64", (1, 3), "small"), [[1, 1, 1]]),
        (Feed("position_ids", "I64", (1, 3), "small"), [[0, 1, 2]]),
        (Feed("token_type_ids", "I64", (1, 3), "small"), [[0, 0, 0]]),
        (Feed("sr", "I64", (), "small"), 16000),
        (Feed("ids", "I64", (2,), "zeros"), [0, 0]),
    ],
)
def test_names_say_what_some_inputs_are(feed: Feed, expected: object) -> None:
    assert values_of(feed).tolist() == expected


def test_values_depend_on_name_and_shape_alone() -> None:
    feed = Feed("x", "F32", (2, 50), "small")
    values = values_of(feed)
    np.testing.assert_array_equal(values, values_of(Feed("x", "F32", (2, 50), "zeros")))
    assert values.dtype == np.float32
    assert np.abs(values).max() < 1
    assert values.std() > 0.4
    assert not np.array_equal(values, values_of(Feed("y", "F32", (2, 50), "small")))
    ids = values_of(Feed("x", "I32", (2, 50), "small"))
    assert set(np.unique(ids)) <= set(range(1, 8))


def test_a_free_size_is_never_taken_from_a_negative_one() -> None:
    assert settled(Port("x", "F32", (-1, 0, 3)), 5) == (1, 5, 3)
