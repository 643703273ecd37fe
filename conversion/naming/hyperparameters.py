"""The keys that most families describe alike, each found under the several names that configs give it.

Order, names and conditions are those of the reference converter (llama.cpp: conversion/base.py,
TextModel.set_gguf_parameters). A family whose reference class writes its own list does not use this.
"""

from collections.abc import Callable, Mapping
from typing import Any

import gguf

from conversion.naming.base import Config, NamingError, read_count, read_number

N_LAYERS = ("n_layers", "num_hidden_layers", "n_layer", "num_layers")

GATING = {
    "softmax": gguf.ExpertGatingFuncType.SOFTMAX,
    "sigmoid": gguf.ExpertGatingFuncType.SIGMOID,
}
_GATING_KEYS = (
    "score_function", "scoring_func", "score_func", "moe_router_activation", "moe_router_activation_func",
    "expert_selection_fn",
)  # fmt: skip
_ROPE_THETA = ("global_rope_theta", "rope_global_theta", "rope_theta_global", "rope_theta", "rotary_emb_base")
_LOCAL_THETA = (
    "local_rope_theta", "rope_local_theta", "rope_theta_local", "swa_rope_theta", "rope_local_base_freq",
)  # fmt: skip
_PARTIAL_ROTARY = ("partial_rotary_factor", "rope_pct", "rope_percent", "rotary_pct")


def text_settings(config: Config) -> dict[str, Any]:
    """The config of the language model: what `text_config` says over what stands around it."""
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, Mapping) else dict(config)


def find(config: Config, *keys: str) -> Any:
    """The value of the first of these keys that the config has and that is not null; None if there is none."""
    return next((config[key] for key in keys if config.get(key) is not None), None)


def find_count(config: Config, *keys: str, default: int | None = None) -> int:
    """`find` as a positive whole number; NamingError `bad-config` names the last key if it is absent or otherwise."""
    return read_count({keys[-1]: find(config, *keys)}, keys[-1], default)


def read_rope(config: Config) -> dict[str, Any]:
    """`rope_parameters` in the new spelling, from whichever spelling the config has; {} without any RoPE.

    Families with two kinds of attention have one such dict for each, under `full_attention` and `sliding_attention`.
    """
    found = config.get("rope_parameters", config.get("rope_scaling")) or {}
    if not isinstance(found, Mapping):
        raise NamingError("bad-config", "config.json: rope_parameters must be an object.")
    rope = dict(found)
    if "full_attention" in rope or "sliding_attention" in rope:
        return rope
    theta, local = find(config, *_ROPE_THETA), find(config, *_LOCAL_THETA)
    if local is not None:
        rope["sliding_attention"] = {"rope_theta": local}
    known = {
        "rope_theta": theta,
        "rope_type": rope.get("type"),
        "partial_rotary_factor": find(config, *_PARTIAL_ROTARY),
        "original_max_position_embeddings": config.get("original_max_position_embeddings"),
    }
    return {key: value for key, value in known.items() if value is not None} | rope


def full_attention(rope: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of `read_rope`'s answer that is about attention over the whole context."""
    inner = rope.get("full_attention", rope)
    if not isinstance(inner, Mapping):
        raise NamingError("bad-config", "config.json: rope_parameters.full_attention must be an object.")
    return inner


def describe_hyperparameters(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """Sizes, heads, RoPE, epsilons, experts and general.file_type, as far as the config has them."""
    _describe_sizes(config, writer)
    describe_rope_keys(read_rope(config), writer)
    _describe_epsilons(config, writer)
    _describe_experts(config, writer)
    if config.get("head_dim") is not None:
        writer.add_key_length(read_count(config, "head_dim"))
        writer.add_value_length(read_count(config, "head_dim"))
    writer.add_file_type(file_type)


def describe_rope_keys(rope: Mapping[str, Any], writer: gguf.GGUFWriter) -> None:
    """`rope.scaling.*` and `rope.freq_base`, and the base of sliding attention where it has its own."""
    full = full_attention(rope)
    kind, factor = str(full.get("rope_type", "default")).lower(), full.get("factor")
    if kind == "linear" and factor is not None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(read_number(full, "factor", 1.0))
    elif kind == "yarn" and factor is not None:
        _describe_yarn(full, writer)
    elif kind in ("su", "longrope"):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
    elif kind not in ("default", "dynamic", "llama3", "linear", "yarn"):
        raise NamingError(
            "unsupported-rope",
            f"RoPE of type {kind[:60]!r} cannot be converted yet. Supported: default, linear, yarn, longrope, llama3, "
            "dynamic.",
        )
    if full.get("rope_theta") is not None:
        writer.add_rope_freq_base(read_number(full, "rope_theta", 10000.0))
    sliding = rope.get("sliding_attention")
    if isinstance(sliding, Mapping) and sliding.get("rope_theta") is not None:
        writer.add_rope_freq_base_swa(read_number(sliding, "rope_theta", 10000.0))


def _describe_yarn(rope: Mapping[str, Any], writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(read_number(rope, "factor", 1.0))
    writer.add_rope_scaling_orig_ctx_len(read_count(rope, "original_max_position_embeddings"))
    attention = "attention_factor" if "attention_factor" in rope else "attn_factor"
    optional: dict[str, Callable[[float], None]] = {
        "extrapolation_factor": writer.add_rope_scaling_yarn_ext_factor,
        attention: writer.add_rope_scaling_yarn_attn_factor,
        "beta_fast": writer.add_rope_scaling_yarn_beta_fast,
        "beta_slow": writer.add_rope_scaling_yarn_beta_slow,
    }
    for key, write in optional.items():
        if rope.get(key) is not None:
            write(read_number(rope, key, 0.0))


def _describe_sizes(config: Config, writer: gguf.GGUFWriter) -> None:
    writer.add_block_count(find_count(config, *N_LAYERS))
    optional: tuple[tuple[Callable[[int], None], tuple[str, ...]], ...] = (
        (writer.add_context_length, (
            "max_position_embeddings", "n_ctx", "n_positions", "max_length", "max_sequence_length", "model_max_length",
        )),
        (writer.add_embedding_length, ("hidden_size", "n_embd", "dim")),
        (writer.add_feed_forward_length, (
            "prefix_dense_intermediate_size", "dense_intermediate_size", "intermediate_size", "n_inner", "hidden_dim",
        )),
        (writer.add_head_count, ("num_attention_heads", "n_head", "n_heads")),
        (writer.add_head_count_kv, ("num_key_value_heads", "n_kv_heads")),
    )  # fmt: skip
    _describe_counts(config, optional)
    if config.get("is_causal") is False:
        writer.add_causal_attention(False)


def _describe_epsilons(config: Config, writer: gguf.GGUFWriter) -> None:
    optional: tuple[tuple[Callable[[float], None], tuple[str, ...]], ...] = (
        (writer.add_layer_norm_rms_eps, ("rms_norm_eps", "norm_eps")),
        (writer.add_layer_norm_eps, ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")),
    )
    for write, keys in optional:
        if find(config, *keys) is not None:
            write(read_number({keys[0]: find(config, *keys)}, keys[0], 0.0))


def _describe_experts(config: Config, writer: gguf.GGUFWriter) -> None:
    optional: tuple[tuple[Callable[[int], None], tuple[str, ...]], ...] = (
        (writer.add_expert_count, ("num_local_experts", "num_experts", "n_routed_experts")),
        (writer.add_expert_used_count, ("num_experts_per_tok", "num_experts_per_token", "top_k_experts")),
        (writer.add_expert_group_count, ("n_group",)),
        (writer.add_expert_group_used_count, ("topk_group",)),
    )
    _describe_counts(config, optional)
    function = find(config, *_GATING_KEYS)
    if function is not None:
        if not isinstance(function, str) or function not in GATING:
            raise NamingError(
                "bad-config",
                f"experts chosen by {function!r:.60} are not known. Supported: {', '.join(GATING)}.",
            )
        writer.add_expert_gating_func(GATING[function])


def _describe_counts(
    config: Config, optional: tuple[tuple[Callable[[int], None], tuple[str, ...]], ...]
) -> None:
    for write, keys in optional:
        if find(config, *keys) is not None:
            write(find_count(config, *keys))
