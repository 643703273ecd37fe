"""DeepSeek: what is left out, how layers are counted, and matrices that are not what config.json says."""

from typing import Any

import pytest

from conversion.naming import NamingError
from conversion.naming.collecting import collected, new_collector
from conversion.naming.deepseek import describe, targets
from tests.fixtures.architectures.fixture import Fixture

CONFIG: dict[str, Any] = {
    "num_hidden_layers": 2, "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "vocab_size": 10,
    "num_key_value_heads": 2, "kv_lora_rank": 4, "qk_nope_head_dim": 3, "qk_rope_head_dim": 2, "v_head_dim": 5,
}  # fmt: skip
LATENT = "model.layers.0.self_attn.kv_b_proj.weight"
EXPERT = "model.layers.1.mlp.experts.{}.{}.weight"


def names(config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> list[str]:
    return [target.name for target in targets(config, shapes)]


def test_the_latent_matrix_becomes_transposed_keys_and_values_head_by_head() -> None:
    keys, values = targets(CONFIG, {LATENT: (2 * (3 + 5), 4)})
    assert (keys.name, keys.shape) == ("blk.0.attn_k_b.weight", (2, 4, 3))
    assert (values.name, values.shape) == ("blk.0.attn_v_b.weight", (2, 5, 4))


def test_a_latent_matrix_of_another_shape_is_refused() -> None:
    with pytest.raises(NamingError, match=r"should be \(16, 4\)") as refused:
        targets(CONFIG, {LATENT: (15, 4)})
    assert refused.value.code == "bad-shape"


def test_layers_that_predict_further_tokens_are_left_out() -> None:
    shapes = {"model.layers.1.input_layernorm.weight": (8,), "model.layers.2.input_layernorm.weight": (8,)}
    assert names(CONFIG, shapes) == ["blk.1.attn_norm.weight"]


def test_an_output_that_is_the_embedding_is_left_out() -> None:
    shapes = {"model.embed_tokens.weight": (10, 8), "lm_head.weight": (10, 8)}
    assert names(CONFIG | {"tie_word_embeddings": True}, shapes) == ["token_embd.weight"]
    assert names(CONFIG, shapes) == ["token_embd.weight", "output.weight"]


def test_an_expert_that_is_missing_is_named() -> None:
    shapes = {
        EXPERT.format(n, kind): (4, 8) for n in (0, 2) for kind in ("gate_proj", "up_proj", "down_proj")
    }
    with pytest.raises(NamingError, match="expert 1 of 3") as refused:
        targets(CONFIG | {"n_routed_experts": 3}, shapes)
    assert refused.value.code == "missing-expert"


def test_without_experts_every_layer_is_dense() -> None:
    writer = new_collector("deepseek2")
    describe(CONFIG, 0, writer)
    found = {key: value.value for key, value in collected(writer).items()}
    assert found["deepseek2.leading_dense_block_count"] == 2
    assert found["deepseek2.expert_shared_count"] == 0
    assert "deepseek2.expert_count" not in found


def test_the_corrections_of_the_router_stay_f32() -> None:
    tensors = Fixture("deepseek-v3-tiny").reference["tensors"]
    assert {tensors[f"blk.{n}.exp_probs_b.bias"][kind][0] for n in (1, 2) for kind in ("F16", "Q8_0")} == {
        "F32"
    }


def test_more_heads_than_any_model_has_are_refused_before_they_are_listed() -> None:
    many = CONFIG | {"num_key_value_heads": 10**8, "qk_nope_head_dim": 1, "v_head_dim": 1, "kv_lora_rank": 1}
    with pytest.raises(NamingError, match="65536") as refused:
        targets(many, {LATENT: (2 * 10**8, 1)})
    assert refused.value.code == "bad-config"
