"""Llama and Mixtral, which a GGUF both calls `llama`. A Mistral comes back as the Llama that computes the same."""

from typing import Any

from conversion.naming.base import NamingError
from conversion.naming.restoring.held import Held
from conversion.naming.restoring.settings import decoder_config

WITHOUT_FEED_FORWARD = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.{}.attn_norm": "model.layers.{}.input_layernorm",
    "blk.{}.attn_q": "model.layers.{}.self_attn.q_proj",
    "blk.{}.attn_k": "model.layers.{}.self_attn.k_proj",
    "blk.{}.attn_v": "model.layers.{}.self_attn.v_proj",
    "blk.{}.attn_output": "model.layers.{}.self_attn.o_proj",
    "blk.{}.ffn_norm": "model.layers.{}.post_attention_layernorm",
}
NAMES = WITHOUT_FEED_FORWARD | {
    "blk.{}.ffn_gate": "model.layers.{}.mlp.gate_proj",
    "blk.{}.ffn_up": "model.layers.{}.mlp.up_proj",
    "blk.{}.ffn_down": "model.layers.{}.mlp.down_proj",
}
"""GGUF's stem -> Hugging Face's, of what most decoders have."""

NORMS_OF_HEADS = {
    "blk.{}.attn_q_norm": "model.layers.{}.self_attn.q_norm",
    "blk.{}.attn_k_norm": "model.layers.{}.self_attn.k_norm",
}
MIXTRAL_NAMES = WITHOUT_FEED_FORWARD | {
    "blk.{}.ffn_gate_inp": "model.layers.{}.block_sparse_moe.gate",
    "blk.{}.ffn_gate_exps": "model.layers.{}.block_sparse_moe.experts.{expert}.w1",
    "blk.{}.ffn_down_exps": "model.layers.{}.block_sparse_moe.experts.{expert}.w2",
    "blk.{}.ffn_up_exps": "model.layers.{}.block_sparse_moe.experts.{expert}.w3",
}


def names(held: Held) -> dict[str, str]:
    return MIXTRAL_NAMES if held.own("expert_count") else NAMES


def config(held: Held) -> dict[str, Any]:
    """LlamaForCausalLM, or MixtralForCausalLM where there are experts."""
    if not held.own("expert_count"):
        biases = {"attention_bias": has_biases(held), "mlp_bias": held.has("blk.0.ffn_up.bias")}
        return decoder_config(held, "LlamaForCausalLM", "llama", hidden_act="silu", **biases)
    return decoder_config(
        held, "MixtralForCausalLM", "mixtral", hidden_act="silu", num_local_experts=held.count("expert_count"),
        num_experts_per_tok=held.count("expert_used_count"), sliding_window=None,
    )  # fmt: skip


def has_biases(held: Held) -> bool:
    """Whether attention has biases; on all of q, k, v and output or on none, for a config knows nothing between."""
    found = {held.has(f"blk.0.attn_{part}.bias") for part in ("q", "k", "v", "output")}
    if len(found) > 1:
        raise NamingError(
            "config-not-restored", "attention has some biases and lacks others; GGUF's names are kept."
        )
    return found.pop()
