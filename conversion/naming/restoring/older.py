"""GPT-NeoX and Falcon: queries, keys and values in one matrix, sorted by head again."""

from typing import Any

from conversion.naming.restoring.held import Held
from conversion.naming.restoring.settings import special_ids, vocab_size

GPT_NEOX_NAMES = {
    "token_embd": "gpt_neox.embed_in",
    "output_norm": "gpt_neox.final_layer_norm",
    "output": "embed_out",
    "blk.{}.attn_norm": "gpt_neox.layers.{}.input_layernorm",
    "blk.{}.attn_qkv": "gpt_neox.layers.{}.attention.query_key_value",
    "blk.{}.attn_output": "gpt_neox.layers.{}.attention.dense",
    "blk.{}.ffn_norm": "gpt_neox.layers.{}.post_attention_layernorm",
    "blk.{}.ffn_up": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
    "blk.{}.ffn_down": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
}
FALCON_NAMES = {
    "token_embd": "transformer.word_embeddings",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    "blk.{}.attn_qkv": "transformer.h.{}.self_attention.query_key_value",
    "blk.{}.attn_output": "transformer.h.{}.self_attention.dense",
    "blk.{}.ffn_up": "transformer.h.{}.mlp.dense_h_to_4h",
    "blk.{}.ffn_down": "transformer.h.{}.mlp.dense_4h_to_h",
}
ONE_NORM = {"blk.{}.attn_norm": "transformer.h.{}.input_layernorm"}
TWO_NORMS = {
    "blk.{}.attn_norm": "transformer.h.{}.ln_mlp",
    "blk.{}.attn_norm_2": "transformer.h.{}.ln_attn",
}


def gpt_neox(held: Held) -> dict[str, Any]:
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_act": "gelu",
        "hidden_size": held.count("embedding_length"),
        "intermediate_size": held.count("feed_forward_length"),
        "num_hidden_layers": held.count("block_count"),
        "num_attention_heads": held.count("attention.head_count"),
        "max_position_embeddings": held.count("context_length"),
        "rotary_pct": held.count("rope.dimension_count") / held.head_dim,
        "rotary_emb_base": held.number("rope.freq_base", 10000.0),
        "layer_norm_eps": held.number("attention.layer_norm_epsilon", 1e-5),
        "use_parallel_residual": bool(held.own("use_parallel_residual", True)),
        "attention_bias": held.has("blk.0.attn_qkv.bias"),
        "vocab_size": vocab_size(held),
        "tie_word_embeddings": not held.has("output.weight"),
    } | special_ids(held)


def falcon_names(held: Held) -> dict[str, str]:
    """7B has one norm in a layer, 40B has two."""
    return FALCON_NAMES | (TWO_NORMS if held.has("blk.0.attn_norm_2.weight") else ONE_NORM)


def falcon(held: Held) -> dict[str, Any]:
    """The new decoder architecture where a layer has two norms."""
    n_heads, is_new = held.count("attention.head_count"), held.has("blk.0.attn_norm_2.weight")
    n_groups = held.count("attention.head_count_kv", n_heads)
    return {
        "architectures": ["FalconForCausalLM"],
        "model_type": "falcon",
        "hidden_size": held.count("embedding_length"),
        "num_hidden_layers": held.count("block_count"),
        "num_attention_heads": n_heads,
        "num_kv_heads": n_groups,
        "new_decoder_architecture": is_new,
        "multi_query": is_new or n_groups == 1,
        "parallel_attn": True,
        "alibi": False,
        "bias": False,
        "rope_theta": held.number("rope.freq_base", 10000.0),
        "layer_norm_epsilon": held.number("attention.layer_norm_epsilon", 1e-5),
        "max_position_embeddings": held.count("context_length"),
        "vocab_size": vocab_size(held),
        "tie_word_embeddings": not held.has("output.weight"),
    } | special_ids(held)
