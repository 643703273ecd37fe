"""Qwen2 and Qwen3, dense and with experts. Whether a Qwen2 uses its sliding window is not in a GGUF: it does not."""

from typing import Any

from conversion.naming.restoring import llama
from conversion.naming.restoring.held import Held
from conversion.naming.restoring.settings import decoder_config

QWEN3_NAMES = llama.NAMES | llama.NORMS_OF_HEADS
EXPERTS = {
    "blk.{}.ffn_gate_inp": "model.layers.{}.mlp.gate",
    "blk.{}.ffn_gate_exps": "model.layers.{}.mlp.experts.{expert}.gate_proj",
    "blk.{}.ffn_up_exps": "model.layers.{}.mlp.experts.{expert}.up_proj",
    "blk.{}.ffn_down_exps": "model.layers.{}.mlp.experts.{expert}.down_proj",
}
QWEN2_MOE_NAMES = (
    llama.WITHOUT_FEED_FORWARD
    | EXPERTS
    | {
        "blk.{}.ffn_gate_inp_shexp": "model.layers.{}.mlp.shared_expert_gate",
        "blk.{}.ffn_gate_shexp": "model.layers.{}.mlp.shared_expert.gate_proj",
        "blk.{}.ffn_up_shexp": "model.layers.{}.mlp.shared_expert.up_proj",
        "blk.{}.ffn_down_shexp": "model.layers.{}.mlp.shared_expert.down_proj",
    }
)
QWEN3_MOE_NAMES = llama.WITHOUT_FEED_FORWARD | llama.NORMS_OF_HEADS | EXPERTS


def qwen2(held: Held) -> dict[str, Any]:
    return decoder_config(held, "Qwen2ForCausalLM", "qwen2", hidden_act="silu", use_sliding_window=False)


def qwen3(held: Held) -> dict[str, Any]:
    return decoder_config(
        held, "Qwen3ForCausalLM", "qwen3", hidden_act="silu", attention_bias=llama.has_biases(held),
        use_sliding_window=False,
    )  # fmt: skip


def qwen2_moe(held: Held) -> dict[str, Any]:
    return decoder_config(
        held, "Qwen2MoeForCausalLM", "qwen2_moe", use_sliding_window=False, norm_topk_prob=False,
        shared_expert_intermediate_size=held.count("expert_shared_feed_forward_length"), **_experts(held),
    )  # fmt: skip


def qwen3_moe(held: Held) -> dict[str, Any]:
    return decoder_config(
        held, "Qwen3MoeForCausalLM", "qwen3_moe", use_sliding_window=False, norm_topk_prob=True,
        attention_bias=llama.has_biases(held), **_experts(held),
    )  # fmt: skip


def _experts(held: Held) -> dict[str, Any]:
    """Every layer has experts; llama.cpp computes no other Qwen."""
    return {
        "hidden_act": "silu",
        "num_experts": held.count("expert_count"),
        "num_experts_per_tok": held.count("expert_used_count"),
        "moe_intermediate_size": held.count("expert_feed_forward_length"),
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def shape(name: str, stored: tuple[int, ...]) -> tuple[int, ...]:
    """The gate of the shared expert is one row; a quantised GGUF keeps it as a vector."""
    return (1, *stored) if name.endswith("shared_expert_gate.weight") and len(stored) == 1 else stored
