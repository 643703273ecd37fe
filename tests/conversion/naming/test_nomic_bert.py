"""NomicBERT: with and without experts, and what llama.cpp takes for granted."""

from typing import Any

import pytest

from conversion.naming import NamingError, family_for
from conversion.naming.collecting import collected, new_collector
from conversion.naming.nomic_bert import describe, targets

CONFIG: dict[str, Any] = {
    "architectures": ["NomicBertModel"], "n_layer": 2, "n_embd": 8, "n_head": 2, "n_inner": 6, "n_positions": 8192,
    "activation_function": "swiglu",
}  # fmt: skip
EXPERTS = CONFIG | {"moe_every_n_layers": 2, "num_experts": 3, "activation_function": "gelu"}
W1, W2 = "encoder.layers.1.mlp.experts.mlp.w1", "encoder.layers.1.mlp.experts.mlp.w2"


def test_a_config_with_experts_is_an_architecture_of_its_own() -> None:
    assert family_for(CONFIG).gguf_architecture == "nomic-bert"
    assert family_for(EXPERTS).gguf_architecture == "nomic-bert-moe"


def test_experts_are_taken_apart_and_the_second_matrix_is_turned_round() -> None:
    found = targets(EXPERTS, {W1: (18, 8), W2: (18, 8), "encoder.layers.1.mlp.experts.bias": (8,)})
    assert [(target.name, target.shape) for target in found] == [
        ("blk.1.ffn_up_exps.weight", (3, 6, 8)),
        ("blk.1.ffn_down_exps.weight", (3, 8, 6)),
    ]
    with pytest.raises(NamingError, match=r"should be \(18, 8\)"):
        targets(EXPERTS, {W1: (24, 8)})


@pytest.mark.parametrize(
    "said",
    [
        {"prenorm": True},
        {"qkv_proj_bias": True},
        {"activation_function": "gelu"},
        {"rotary_emb_fraction": 0.5},
    ],
)
def test_a_layout_that_llama_cpp_does_not_compute_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(NamingError, match=next(iter(said))) as refused:
        targets(CONFIG | said, {})
    assert refused.value.code == "unsupported-layout"


@pytest.mark.parametrize(("claimed", "trained"), [(8192, 2048), (2048, 512)])
def test_the_context_is_what_the_model_was_trained_for(claimed: int, trained: int) -> None:
    writer = new_collector("nomic-bert")
    describe(CONFIG | {"n_positions": claimed}, 0, writer)
    assert collected(writer)["nomic-bert.context_length"].value == trained


def test_a_context_nobody_knows_is_refused() -> None:
    with pytest.raises(NamingError, match="n_positions 77") as refused:
        describe(CONFIG | {"n_positions": 77}, 0, new_collector("nomic-bert"))
    assert refused.value.code == "bad-config"
