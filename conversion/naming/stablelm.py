"""StableLM: RoPE on a part of each head, LayerNorm with biases, and in the 12B a norm for each head of q and k.

The norms of heads come one by one, `self_attn.{q,k}_layernorm.norms.H`, and are stacked to (heads, head size).
(llama.cpp: conversion/stablelm.py)
"""

import re
from typing import Any

import gguf

from conversion.naming.base import Config, Family, NamingError, Shapes, Target, read_count, read_number
from conversion.naming.defaults import with_defaults
from conversion.naming.hyperparameters import full_attention, read_rope
from conversion.naming.renaming import BUFFERS, renamer

_HEAD_NORM = re.compile(r"(model\.layers\.\d+\.self_attn\.([qk])_layernorm)\.norms\.(\d+)\.weight")


def settings_of(config: Config) -> dict[str, Any]:
    """The settings of a StableLM, with what transformers takes for granted."""
    rotary = (
        {}
        if full_attention(read_rope(config)).get("partial_rotary_factor")
        else {"partial_rotary_factor": 0.25}
    )
    # Before transformers had the family, its configs said norm_eps, and nothing of residuals where they are parallel.
    settings = with_defaults(
        config,
        num_key_value_heads=32,
        layer_norm_eps=config.get("norm_eps", 1e-5),
        use_parallel_residual=config.get("model_type") != "stablelm",
    )
    return settings | rotary


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Every tensor in the order of the checkpoint; the norms of heads where the last of a layer is met."""
    settings = settings_of(config)
    rename = renamer(gguf.MODEL_ARCH.STABLELM, read_count(settings, "num_hidden_layers"))
    stacks = _stacked_norms(settings, shapes)
    result: list[Target] = []
    for name, shape in shapes.items():
        match = _HEAD_NORM.fullmatch(name)
        if match is not None:
            sources = stacks[match[1]]
            if name == list(sources.values())[-1]:
                result.append(_stack(rename(match[1] + ".weight"), sources, shapes))
        elif not name.endswith(BUFFERS):
            result.append(Target(rename(name), shape, name))
    return result


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The `stablelm.*` keys, in the reference converter's order."""
    settings = settings_of(config)
    n_heads = read_count(settings, "num_attention_heads")
    head_dim = read_count(settings, "hidden_size") // n_heads
    rotary = read_number(full_attention(read_rope(settings)), "partial_rotary_factor", 0.25)
    writer.add_context_length(read_count(settings, "max_position_embeddings", 4096))
    writer.add_embedding_length(read_count(settings, "hidden_size"))
    writer.add_block_count(read_count(settings, "num_hidden_layers"))
    writer.add_feed_forward_length(read_count(settings, "intermediate_size"))
    writer.add_rope_dimension_count(int(rotary * head_dim))
    writer.add_head_count(n_heads)
    writer.add_head_count_kv(read_count(settings, "num_key_value_heads"))
    writer.add_parallel_residual(bool(settings["use_parallel_residual"]))
    writer.add_layer_norm_eps(read_number(settings, "layer_norm_eps", 1e-5))
    writer.add_file_type(file_type)


def _stacked_norms(settings: Config, shapes: Shapes) -> dict[str, dict[int, str]]:
    """For each layer's norm of q or k, the tensors of its heads by number, in the order they are met."""
    found: dict[str, dict[int, str]] = {}
    for match in filter(None, map(_HEAD_NORM.fullmatch, shapes)):
        found.setdefault(match[1], {})[int(match[3])] = match[0]
    for prefix, norms in found.items():
        key = "num_attention_heads" if prefix.endswith("q_layernorm") else "num_key_value_heads"
        n_heads = read_count(settings, key)
        if sorted(norms) != list(range(n_heads)):
            raise NamingError("missing-norm", f"{prefix[:200]!r} has {len(norms)} norms for {n_heads} heads.")
    return found


def _stack(renamed: str, norms: dict[int, str], shapes: Shapes) -> Target:
    sources = tuple(norms[number] for number in sorted(norms))
    shape = shapes[sources[0]]
    if len(shape) != 1 or any(shapes[name] != shape for name in sources):
        raise NamingError("bad-shape", f"the norms that make {renamed} differ or are no vectors.")
    return Target(renamed, (len(sources), *shape), sources=sources)


STABLELM = Family("stablelm", ("StableLmForCausalLM", "StableLMEpochForCausalLM"), targets, describe)
