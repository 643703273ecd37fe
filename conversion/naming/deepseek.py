"""DeepSeek V2 and V3: multi-head latent attention and many small experts, with or without compressed queries.

Keys and values are decompressed from one latent vector by `kv_b_proj`. llama.cpp folds the keys' half into the query
instead, so that attention runs on the latent vector itself, with one head of keys and values; for this the matrix is
split per head into `k_b` (transposed) and `v_b`. The experts of a layer are stacked. Layers beyond
`num_hidden_layers` predict further tokens and are left out. (llama.cpp: conversion/deepseek.py, DeepseekV2Model)
"""

from typing import Any

import gguf

from conversion.naming.base import Config, Family, NamingError, Shapes, Target, read_count, read_number
from conversion.naming.experts import stacked_experts
from conversion.naming.hyperparameters import describe_hyperparameters, read_rope
from conversion.naming.reading import Run, of_runs, transposed
from conversion.naming.renaming import BUFFERS, Rename, check_parts, check_shape, layer_of, renamer

KINDS = {"down_proj": "ffn_down_exps", "gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps"}


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Every tensor in its order; the experts of a layer where its last one is met."""
    n_layers = read_count(config, "num_hidden_layers")
    rename = renamer(gguf.MODEL_ARCH.DEEPSEEK2, n_layers)
    kept = {name: shape for name, shape in shapes.items() if not _is_left_out(config, name, n_layers)}
    stacks = stacked_experts(kept, KINDS, _n_experts(config))
    result: list[Target] = []
    for name, shape in kept.items():
        if name in stacks:
            result += stacks[name]
        elif name.endswith("kv_b_proj.weight"):
            result += _split_latent(config, rename, name, shape)
        else:
            plain = name.replace("e_score_correction_bias", "e_score_correction.bias")
            result.append(Target(rename(plain), shape, name))
    return result


def _is_left_out(config: Config, name: str, n_layers: int) -> bool:
    is_tied_output = bool(config.get("tie_word_embeddings")) and name in (
        "lm_head.weight",
        "model.lm_head.weight",
    )
    layer = layer_of(name) if name.startswith("model.layers.") else None
    return is_tied_output or name.endswith(BUFFERS) or (layer is not None and layer >= n_layers)


def _n_experts(config: Config) -> int:
    return 0 if config.get("n_routed_experts") is None else read_count(config, "n_routed_experts")


def _split_latent(config: Config, rename: Rename, name: str, shape: tuple[int, ...]) -> list[Target]:
    """k_b (heads, latent, unrotated key) and v_b (heads, value, latent)."""
    n_heads = read_count(config, "num_key_value_heads", read_count(config, "num_attention_heads"))
    keys, values = read_count(config, "qk_nope_head_dim", 128), read_count(config, "v_head_dim", 128)
    latent = read_count(config, "kv_lora_rank", 512)
    check_shape(name, shape, (n_heads * (keys + values), latent))
    check_parts("heads", n_heads)
    starts = [head * (keys + values) for head in range(n_heads)]
    of_keys = transposed([Run(name, start, keys) for start in starts], latent)
    of_values = of_runs([Run(name, start + keys, values) for start in starts])
    return [
        Target(rename(name.replace("kv_b_proj", "k_b_proj")), (n_heads, latent, keys), name, read=of_keys),
        Target(
            rename(name.replace("kv_b_proj", "v_b_proj")), (n_heads, values, latent), name, read=of_values
        ),
    ]


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys that most families have, then those of latent attention and of the experts."""
    plain: dict[str, Any] = {**config, "num_key_value_heads": 1}
    plain.setdefault("rms_norm_eps", 1e-6)
    latent = read_count(config, "kv_lora_rank", 512)
    unrotated, rotated = (
        read_count(config, "qk_nope_head_dim", 128),
        read_count(config, "qk_rope_head_dim", 64),
    )
    plain.setdefault("head_dim", rotated)
    describe_hyperparameters(plain, file_type, writer)
    writer.add_leading_dense_block_count(_n_dense(config))
    writer.add_vocab_size(read_count(config, "vocab_size"))
    if config.get("q_lora_rank") is not None:
        writer.add_q_lora_rank(read_count(config, "q_lora_rank"))
    writer.add_kv_lora_rank(latent)
    writer.add_key_length(latent + rotated)
    writer.add_value_length(latent)
    writer.add_key_length_mla(unrotated + rotated)
    writer.add_value_length_mla(read_count(config, "v_head_dim", 128))
    _describe_experts(config, writer)
    writer.add_rope_dimension_count(rotated)
    rope = read_rope(config)
    if rope.get("mscale_all_dim") is not None:
        # A tenth of it, unlike in other families; llama.cpp's reader of this family expects that.
        writer.add_rope_scaling_yarn_log_mul(0.1 * read_number(rope, "mscale_all_dim", 0.0))


def _describe_experts(config: Config, writer: gguf.GGUFWriter) -> None:
    key = "moe_intermediate_size" if config.get("moe_intermediate_size") is not None else "intermediate_size"
    writer.add_expert_feed_forward_length(read_count(config, key))
    if _n_experts(config):
        writer.add_expert_count(_n_experts(config))
    writer.add_expert_shared_count(_read_natural(config, "n_shared_experts", 0))
    if config.get("routed_scaling_factor") is not None:
        writer.add_expert_weights_scale(read_number(config, "routed_scaling_factor", 1.0))
    if config.get("norm_topk_prob"):
        writer.add_expert_weights_norm(True)


def _n_dense(config: Config) -> int:
    """How many layers come before the first with experts: all, if there are no experts."""
    default = 0 if _n_experts(config) else read_count(config, "num_hidden_layers")
    return _read_natural(config, "first_k_dense_replace", default)


def _read_natural(config: Config, key: str, default: int) -> int:
    value = config.get(key)
    if value is None:
        return default
    if type(value) is not int or value < 0:
        raise NamingError("bad-config", f"config.json: {key} must be a whole number, not {value!r:.80}.")
    return value


DEEPSEEK = Family("deepseek2", ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"), targets, describe)
