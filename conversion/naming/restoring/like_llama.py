"""Families whose tensors are Llama's but for a few: SmolLM3, Granite, OLMo 2 and 3, StableLM, Phi-3 and Phi-4."""

from typing import Any

from conversion.naming.base import NamingError
from conversion.naming.restoring import llama
from conversion.naming.restoring.held import Held, shortest
from conversion.naming.restoring.settings import decoder_config
from conversion.naming.smollm3 import WITHOUT_ROPE_STEP

OLMO2_NAMES = {
    stem: name for stem, name in llama.NAMES.items() if stem not in ("blk.{}.attn_norm", "blk.{}.ffn_norm")
} | llama.NORMS_OF_HEADS | {
    "blk.{}.post_attention_norm": "model.layers.{}.post_attention_layernorm",
    "blk.{}.post_ffw_norm": "model.layers.{}.post_feedforward_layernorm",
}  # fmt: skip
PHI3_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.{}.attn_norm": "model.layers.{}.input_layernorm",
    "blk.{}.attn_qkv": "model.layers.{}.self_attn.qkv_proj",
    "blk.{}.attn_output": "model.layers.{}.self_attn.o_proj",
    "blk.{}.ffn_norm": "model.layers.{}.post_attention_layernorm",
    "blk.{}.ffn_up": "model.layers.{}.mlp.gate_up_proj",
    "blk.{}.ffn_down": "model.layers.{}.mlp.down_proj",
}


def smollm3(held: Held) -> dict[str, Any]:
    """Every fourth layer is without RoPE, as llama.cpp takes for granted."""
    with_rope = [int((layer + 1) % WITHOUT_ROPE_STEP != 0) for layer in range(held.count("block_count"))]
    return decoder_config(
        held, "SmolLM3ForCausalLM", "smollm3", hidden_act="silu", attention_bias=llama.has_biases(held),
        no_rope_layers=with_rope, no_rope_layer_interval=WITHOUT_ROPE_STEP, use_sliding_window=False,
    )  # fmt: skip


def granite(held: Held) -> dict[str, Any]:
    return decoder_config(
        held, "GraniteForCausalLM", "granite", hidden_act="silu", attention_bias=llama.has_biases(held),
        attention_multiplier=held.number("attention.scale", 0.0),
        embedding_multiplier=held.number("embedding_scale", 0.0),
        residual_multiplier=held.number("residual_scale", 0.0), logits_scaling=held.number("logit_scale", 0.0),
    )  # fmt: skip


def olmo2(held: Held) -> dict[str, Any]:
    """Olmo2ForCausalLM, or Olmo3ForCausalLM where some layers have a window."""
    if held.own("attention.sliding_window") is None:
        return decoder_config(held, "Olmo2ForCausalLM", "olmo2", hidden_act="silu")
    pattern = held.whole("olmo2.attention.sliding_window_pattern")
    kinds = ["sliding_attention" if has_window else "full_attention" for has_window in pattern]
    return decoder_config(
        held, "Olmo3ForCausalLM", "olmo3", hidden_act="silu", layer_types=kinds,
        sliding_window=held.count("attention.sliding_window"),
    )  # fmt: skip


def stablelm(held: Held) -> dict[str, Any]:
    return decoder_config(
        held, "StableLmForCausalLM", "stablelm", hidden_act="silu", use_qkv_bias=held.has("blk.0.attn_q.bias"),
        layer_norm_eps=held.number("attention.layer_norm_epsilon", 1e-5), qk_layernorm=False,
        partial_rotary_factor=held.count("rope.dimension_count") / held.head_dim,
        use_parallel_residual=bool(held.own("use_parallel_residual", False)),
    )  # fmt: skip


def phi3(held: Held) -> dict[str, Any]:
    """Both sets of long RoPE factors are tensors, from which config.json has its numbers."""
    share = held.count("rope.dimension_count") / held.head_dim
    return decoder_config(
        held, "Phi3ForCausalLM", "phi3", hidden_act="silu", partial_rotary_factor=share,
        original_max_position_embeddings=held.count("rope.scaling.original_context_length"),
        sliding_window=held.own("attention.sliding_window") or None, rope_scaling=_long_rope(held),
    )  # fmt: skip


def _long_rope(held: Held) -> dict[str, Any] | None:
    if not held.has("rope_factors_long.weight"):
        return None
    if not held.has("rope_factors_short.weight"):
        raise NamingError(
            "tensor-not-restored", "there is no rope_factors_short.weight; GGUF's names are kept."
        )
    factors = {
        f"{which}_factor": [shortest(one) for one in held.vector(f"rope_factors_{which}.weight")]
        for which in ("long", "short")
    }
    return {"rope_type": "longrope", "type": "longrope"} | factors
