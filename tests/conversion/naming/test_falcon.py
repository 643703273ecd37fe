"""Falcon: which configs have one key for all queries, and what llama.cpp cannot compute."""

from typing import Any

import pytest

from conversion.naming import NamingError
from conversion.naming.falcon import n_groups, targets

PLAIN: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
QKV = "transformer.h.0.self_attention.query_key_value.weight"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, 1),
        (
            {"multi_query": True, "num_kv_heads": 4},
            1,
        ),  # 7B as published: transformers ignores its num_kv_heads
        ({"multi_query": False}, 4),
        ({"new_decoder_architecture": True, "num_kv_heads": 2}, 2),
        ({"new_decoder_architecture": True}, 4),
        ({"n_head_kv": 2}, 2),  # 40B in its first spelling
    ],
)
def test_groups_of_queries_are_counted_as_transformers_counts_them(
    said: dict[str, Any], expected: int
) -> None:
    assert n_groups(PLAIN | said) == expected


@pytest.mark.parametrize("said", [{"alibi": True}, {"parallel_attn": False}, {"bias": True}])
def test_a_layout_that_llama_cpp_does_not_compute_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(NamingError, match="Falcon-RW") as refused:
        targets(PLAIN | said, {QKV: (96, 64)})
    assert refused.value.code == "unsupported-layout"


def test_a_matrix_that_is_not_made_of_the_groups_is_refused() -> None:
    assert targets(PLAIN, {QKV: (96, 64)})[0].shape == (96, 64)
    with pytest.raises(NamingError, match=r"should be \(96, 64\)") as refused:
        targets(PLAIN, {QKV: (128, 64)})
    assert refused.value.code == "bad-shape"


def test_heads_that_do_not_divide_into_groups_are_refused() -> None:
    with pytest.raises(NamingError, match="4 heads do not divide into 3 groups") as refused:
        targets(PLAIN | {"n_head_kv": 3}, {})
    assert refused.value.code == "bad-config"
