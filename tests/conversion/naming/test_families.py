"""What families refuse, and what of them no tiny checkpoint shows; the proofs are in test_architectures.py."""

from typing import Any

import numpy as np
import pytest

from conversion.naming import NamingError, family_for
from conversion.naming.base import Target
from conversion.naming.collecting import collected, new_collector
from conversion.naming.general import count_parameters
from conversion.naming.llama4 import TOGETHER_ELEMENTS
from tests.conversion.naming.models import config
from tests.conversion.naming.test_experts import Held

LAYER = "model.layers.0"


def targets(architecture: str, shapes: dict[str, tuple[int, ...]], **changes: Any) -> list[Target]:
    settings = config(architectures=[architecture], **changes)
    return family_for(settings).targets(settings, shapes)


def metadata(architecture: str, **changes: Any) -> dict[str, Any]:
    settings = config(architectures=[architecture], **changes)
    family = family_for(settings)
    writer = new_collector(family.gguf_architecture)
    family.describe(settings, 0, writer)
    return {key: value.value for key, value in collected(writer).items()}


def test_experts_of_llama_4_are_turned_and_gate_and_up_told_apart() -> None:
    name = "language_model.model.layers.1.feed_forward.experts.gate_up_proj"
    array = np.random.default_rng(1).normal(size=(2, 3, 10)).astype(np.float32)
    gate, up = targets("Llama4ForConditionalGeneration", {name: array.shape})
    assert (gate.name, up.name) == ("blk.1.ffn_gate_exps.weight", "blk.1.ffn_up_exps.weight")
    for target, columns in ((gate, array[:, :, :5]), (up, array[:, :, 5:])):
        expected = columns.swapaxes(1, 2)
        assert target.shape == expected.shape
        assert target.read is not None
        for start in range(10):
            found = target.read(Held(**{name: array}), start, 10 - start)
            assert (found == expected.reshape(10, 3)[start:]).all()


def test_a_large_expert_is_turned_in_runs_that_fit_in_memory() -> None:
    shape = (16, 5120, 16384)  # Llama 4 Scout
    gate, _ = targets("Llama4ForCausalLM", {"model.layers.0.feed_forward.experts.gate_up_proj": shape})
    assert gate.rows_together * gate.n_cols <= TOGETHER_ELEMENTS
    assert gate.n_rows == 16 * 8192


def test_the_part_of_llama_4_that_sees_is_left_out() -> None:
    found = targets(
        "Llama4ForConditionalGeneration",
        {
            "vision_model.layernorm_pre.weight": (8,),
            "multi_modal_projector.linear_1.weight": (8, 8),
            "language_model.model.norm.weight": (64,),
        },
    )
    assert [(target.name, target.source) for target in found] == [
        ("output_norm.weight", "language_model.model.norm.weight")
    ]


@pytest.mark.parametrize(
    ("layer_types", "window"), [(["full_attention"] * 2, 0), (["chunked_attention"] * 2, None)]
)
def test_llama_4_without_chunks_has_no_window(layer_types: list[str], window: int | None) -> None:
    found = metadata("Llama4ForCausalLM", layer_types=layer_types, intermediate_size_mlp=96)
    assert found.get("llama4.attention.sliding_window") == window


@pytest.mark.parametrize("shape", [(2, 8, 7), (8, 8)])
def test_experts_of_llama_4_that_hold_no_two_halves_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(NamingError, match="does not hold experts") as refused:
        targets("Llama4ForCausalLM", {f"{LAYER}.feed_forward.experts.gate_up_proj": shape})
    assert refused.value.code == "bad-shape"


def test_fused_experts_of_a_qwen_are_cut_in_two() -> None:
    found = targets(
        "Qwen3MoeForCausalLM",
        {f"{LAYER}.mlp.experts.gate_up_proj": (4, 64, 32), f"{LAYER}.mlp.experts.down_proj": (4, 32, 32)},
        num_experts=4,
    )
    assert [(target.name, target.shape) for target in found] == [
        ("blk.0.ffn_gate_exps.weight", (4, 32, 32)),
        ("blk.0.ffn_up_exps.weight", (4, 32, 32)),
        ("blk.0.ffn_down_exps.weight", (4, 32, 32)),
    ]


@pytest.mark.parametrize("pattern", [[1, 1, 0, 1, 1, 1, 1, 0], [1] * 8, [0] * 8])
def test_a_smollm3_with_rope_in_other_layers_than_llama_cpp_assumes_is_refused(pattern: list[int]) -> None:
    changes = {"num_hidden_layers": 8, "no_rope_layers": pattern}
    with pytest.raises(NamingError, match="leaves RoPE out of every 4th layer") as refused:
        metadata("SmolLM3ForCausalLM", **changes)
    assert refused.value.code == "unsupported-rope"
    assert metadata("SmolLM3ForCausalLM", num_hidden_layers=4, no_rope_layers=[1, 1, 1, 0])


def test_a_granite_has_no_head_dim_of_its_own() -> None:
    found = metadata("GraniteForCausalLM", head_dim=32, residual_multiplier=0.0)
    assert "granite.attention.key_length" not in found
    assert found["granite.rope.dimension_count"] == 16
    assert "granite.residual_scale" not in found


@pytest.mark.parametrize("n_norms", [3, 5])
def test_a_stablelm_with_a_norm_too_few_or_too_many_is_refused(n_norms: int) -> None:
    shapes = {f"{LAYER}.self_attn.q_layernorm.norms.{head}.weight": (16,) for head in range(n_norms)}
    with pytest.raises(NamingError, match=f"has {n_norms} norms for 4 heads") as refused:
        targets("StableLmForCausalLM", shapes)
    assert refused.value.code == "missing-norm"


def test_norms_of_heads_that_differ_are_refused() -> None:
    shapes = {f"{LAYER}.self_attn.q_layernorm.norms.{head}.weight": (16 + head,) for head in range(4)}
    with pytest.raises(NamingError, match="differ or are no vectors") as refused:
        targets("StableLmForCausalLM", shapes)
    assert refused.value.code == "bad-shape"


def test_parameters_are_counted_once_for_every_token_and_once_for_an_expert() -> None:
    made = [
        Target("token_embd.weight", (10, 4)),
        Target("blk.0.ffn_up_exps.weight", (8, 3, 4)),
        Target("blk.0.ffn_up_exps.bias", (8, 3)),
        Target("blk.1.ffn_up_exps.weight", (8, 3, 4)),
    ]
    assert count_parameters(made) == (40 + 96 + 24 + 96, 64, 24, 8)
    assert count_parameters(made[:1]) == (40, 40, 0, 0)
