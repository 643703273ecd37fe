"""Granite with experts, and perhaps one that every token passes; gate and up of all experts lie in one tensor.

| Hugging Face | GGUF |
|---|---|
| block_sparse_moe.router.layer | ffn_gate_inp |
| block_sparse_moe.input_linear (n_experts, 2 * ffn, hidden) | ffn_gate_exps, ffn_up_exps |
| block_sparse_moe.output_linear | ffn_down_exps |
| shared_mlp.input_linear (2 * ffn, hidden), shared_mlp.output_linear | ffn_{gate,up,down}_shexp |

(llama.cpp: conversion/granite.py, GraniteMoeModel)
"""

from typing import Any

import gguf

from conversion.naming import granite
from conversion.naming.base import Config, Family, Shapes, Target, read_count
from conversion.naming.experts import halves
from conversion.naming.llama import rope_targets, rotated_target, vocabulary
from conversion.naming.renaming import BUFFERS, renamer

EXPERTS, SHARED = "block_sparse_moe.input_linear.weight", "shared_mlp.input_linear.weight"


def settings_of(config: Config) -> dict[str, Any]:
    """The settings of a Granite, and how many experts there are."""
    settings = granite.settings_of(config)
    experts = {"num_local_experts": 8, "num_experts_per_tok": 2}
    return {**experts, **{key: value for key, value in settings.items() if value is not None}}


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Every tensor in the order of the checkpoint; gate and up apart."""
    settings = settings_of(config)
    rename = renamer(gguf.MODEL_ARCH.GRANITE_MOE, read_count(settings, "num_hidden_layers"))
    result = rope_targets(settings)
    for name, shape in shapes.items():
        if name.endswith(EXPERTS):
            result += halves(name, shape, ("ffn_gate_exps", "ffn_up_exps"))
        elif name.endswith(SHARED):
            result += halves(name, shape, ("ffn_gate_shexp", "ffn_up_shexp"))
        elif not name.endswith(BUFFERS):
            result.append(rotated_target(settings, rename, name, shape))
    return result


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys of Granite, and the size of the shared expert if there is one."""
    settings = settings_of(config)
    granite.describe(settings, file_type, writer)
    if settings.get("shared_intermediate_size"):
        writer.add_expert_shared_feed_forward_length(read_count(settings, "shared_intermediate_size"))


GRANITE_MOE = Family(
    "granitemoe",
    ("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"),
    targets,
    describe,
    vocabulary=vocabulary,
)
