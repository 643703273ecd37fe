"""Qwen2-MoE and Qwen3-MoE: Qwen2 and Qwen3 with experts; the former also with one that every token passes.

| Hugging Face | GGUF |
|---|---|
| mlp.gate, mlp.shared_expert_gate | ffn_gate_inp, ffn_gate_inp_shexp |
| mlp.experts.E.{gate,up,down}_proj | row E of ffn_{gate,up,down}_exps |
| mlp.experts.gate_up_proj, as some tools save it | ffn_gate_exps, ffn_up_exps |
| mlp.shared_expert.{gate,up,down}_proj | ffn_{gate,up,down}_shexp |

(llama.cpp: conversion/qwen.py, Qwen2MoeModel)
"""

from collections.abc import Callable
from typing import Any

import gguf

from conversion.naming.base import Config, Family, Shapes, Target, read_count
from conversion.naming.defaults import with_defaults, with_rope_theta
from conversion.naming.experts import halves, stacked_experts
from conversion.naming.hyperparameters import describe_hyperparameters, find, find_count
from conversion.naming.renaming import BUFFERS, layer_of, renamer

KINDS = {"down_proj": "ffn_down_exps", "gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps"}
N_EXPERTS = ("num_local_experts", "num_experts")
FUSED = ("experts.gate_up_proj", "experts.gate_up_proj.weight")
TOGETHER = ("experts.down_proj", "experts.down_proj.weight")


def targets_with_experts(architecture: gguf.MODEL_ARCH) -> Callable[[Config, Shapes], list[Target]]:
    """The `targets` of either: every tensor in order; the experts of a layer where its last one is met."""

    def targets(config: Config, shapes: Shapes) -> list[Target]:
        rename = renamer(architecture, read_count(config, "num_hidden_layers"))
        stacks = stacked_experts(shapes, KINDS, find_count(config, *N_EXPERTS))
        result: list[Target] = []
        for name, shape in shapes.items():
            if name in stacks:
                result += stacks[name]
            elif name.endswith(FUSED):
                result += halves(name, shape, ("ffn_gate_exps", "ffn_up_exps"))
            elif name.endswith(TOGETHER):
                result.append(Target(f"blk.{layer_of(name)}.ffn_down_exps.weight", shape, name))
            elif not name.endswith(BUFFERS):
                result.append(Target(rename(name), shape, name))
        return result

    return targets


def describe_qwen2_moe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys every family has, then the sizes of experts and of the shared one."""
    settings = with_defaults(
        config, num_key_value_heads=16, num_experts=60, num_experts_per_tok=4, moe_intermediate_size=1408,
        shared_expert_intermediate_size=5632, rms_norm_eps=1e-6, max_position_embeddings=32768,
    )  # fmt: skip
    _describe(settings, file_type, writer)
    writer.add_expert_shared_feed_forward_length(read_count(settings, "shared_expert_intermediate_size"))


def describe_qwen3_moe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys every family has, then the size of experts."""
    experts = {} if find(config, *N_EXPERTS) is not None else {"num_experts": 128}
    settings = with_defaults(
        {**config, **experts}, num_key_value_heads=4, num_experts_per_tok=8, moe_intermediate_size=768,
        rms_norm_eps=1e-6, max_position_embeddings=32768,
    )  # fmt: skip
    _describe(settings, file_type, writer)


def _describe(settings: dict[str, Any], file_type: int, writer: gguf.GGUFWriter) -> None:
    describe_hyperparameters(with_rope_theta(settings), file_type, writer)
    writer.add_expert_feed_forward_length(read_count(settings, "moe_intermediate_size"))


QWEN2_MOE = Family(
    "qwen2moe",
    ("Qwen2MoeForCausalLM",),
    targets_with_experts(gguf.MODEL_ARCH.QWEN2MOE),
    describe_qwen2_moe,
)
QWEN3_MOE = Family(
    "qwen3moe",
    ("Qwen3MoeForCausalLM",),
    targets_with_experts(gguf.MODEL_ARCH.QWEN3MOE),
    describe_qwen3_moe,
)
