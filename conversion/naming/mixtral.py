"""Mixtral: Mistral with a mixture of experts, which GGUF knows as a Llama with experts.

| Hugging Face | GGUF |
|---|---|
| model.layers.N.block_sparse_moe.gate | blk.N.ffn_gate_inp |
| model.layers.N.block_sparse_moe.experts.E.{w1,w2,w3} | row E of blk.N.ffn_{gate,down,up}_exps |

Everything else is as in `llama`. (llama.cpp: conversion/llama.py)
"""

import gguf

from conversion.naming.base import Config, Family, Shapes, Target, read_count
from conversion.naming.defaults import with_defaults, with_rope_theta
from conversion.naming.experts import stacked_experts
from conversion.naming.llama import describe_like_llama, rotated_target, vocabulary
from conversion.naming.renaming import BUFFERS, renamer

KINDS = {"w1": "ffn_gate_exps", "w2": "ffn_down_exps", "w3": "ffn_up_exps"}


def settings_of(config: Config) -> Config:
    """The settings of a Mixtral, with what transformers takes for granted."""
    settings = with_defaults(
        config, num_key_value_heads=8, rms_norm_eps=1e-5, num_local_experts=8, num_experts_per_tok=2
    )
    return with_rope_theta(settings, 1e6)


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Every tensor in the order of the checkpoint; the experts of a layer where its last one is met."""
    settings = settings_of(config)
    rename = renamer(gguf.MODEL_ARCH.LLAMA, read_count(settings, "num_hidden_layers"))
    stacks = stacked_experts(shapes, KINDS, read_count(settings, "num_local_experts"))
    result: list[Target] = []
    for name, shape in shapes.items():
        if name in stacks:
            result += stacks[name]
        elif not name.endswith(BUFFERS):
            result.append(rotated_target(settings, rename, name, shape))
    return result


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The `llama.*` keys, with those of experts."""
    describe_like_llama(settings_of(config), file_type, writer)


MIXTRAL = Family("llama", ("MixtralForCausalLM",), targets, describe, vocabulary=vocabulary)
