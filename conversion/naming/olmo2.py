"""OLMo 2 and 3: norms after attention and feed-forward, and on q and k; OLMo 3 with a sliding window in most layers.

(llama.cpp: conversion/olmo.py, Olmo2Model)
"""

from typing import Any

import gguf

from conversion.naming.base import Config, Family, read_count
from conversion.naming.defaults import with_defaults, with_rope_theta
from conversion.naming.hyperparameters import describe_hyperparameters, read_rope
from conversion.naming.plain import renamed_targets

OLMO3_ROPE_THETA = 500000.0
FULL_ATTENTION_STEP = 4
"""Every fourth layer of an OLMo 3 attends to all of the context, unless its config says otherwise."""


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys every family has, then the window and which layers have it."""
    is_third = _is_olmo3(config)
    settings = with_defaults(config, rms_norm_eps=1e-5, max_position_embeddings=2048)
    settings = with_rope_theta(settings, OLMO3_ROPE_THETA if is_third else 10000.0)
    if is_third:
        settings |= {
            "sliding_window": settings.get("sliding_window") or 4096,
            "rope_parameters": _ropes(settings),
        }
    describe_hyperparameters(settings, file_type, writer)
    if "sliding_window" in settings:
        writer.add_sliding_window(read_count(settings, "sliding_window"))
        writer.add_sliding_window_pattern(_windowed_layers(settings))


def _is_olmo3(config: Config) -> bool:
    named = config.get("architectures")
    return isinstance(named, list) and named[:1] == ["Olmo3ForCausalLM"]


def _ropes(settings: Config) -> dict[str, Any]:
    """RoPE of both kinds of attention; what stands outside of either is about the one over the whole context."""
    rope = read_rope(settings)
    if "full_attention" in rope or "sliding_attention" in rope:
        return rope
    return {"full_attention": rope, "sliding_attention": {"rope_theta": OLMO3_ROPE_THETA}}


def _windowed_layers(settings: Config) -> list[bool]:
    kinds = settings.get("layer_types")
    if isinstance(kinds, list):
        return [kind == "sliding_attention" for kind in kinds]
    n_layers = read_count(settings, "num_hidden_layers")
    return [(layer + 1) % FULL_ATTENTION_STEP != 0 for layer in range(n_layers)]


OLMO2 = Family(
    "olmo2", ("Olmo2ForCausalLM", "Olmo3ForCausalLM"), renamed_targets(gguf.MODEL_ARCH.OLMO2), describe
)
