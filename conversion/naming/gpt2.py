"""GPT-2: GPT2LMHeadModel.

Its layers are Conv1D, whose weights have inputs as rows and outputs as columns; ggml, like every Linear, wants outputs
as rows. So those four per layer are transposed. (llama.cpp: conversion/gpt2.py)
"""

import gguf

from conversion.naming.base import Config, Family, NamingError, Shapes, Target, read_count, read_number
from conversion.naming.hyperparameters import find_count
from conversion.naming.reading import Run, rows_at_once, transposed
from conversion.naming.renaming import renamer

CONV1D = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")
MASKS = (".attn.bias", ".attn.masked_bias")
"""Causal masks that old checkpoints carry; ggml makes its own."""


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Every tensor but the masks, in its order."""
    rename = renamer(gguf.MODEL_ARCH.GPT2, read_count(config, "n_layer", 12))
    return [_target(rename(name), name, shape) for name, shape in shapes.items() if not name.endswith(MASKS)]


def _target(renamed: str, name: str, shape: tuple[int, ...]) -> Target:
    if not name.endswith(CONV1D):
        return Target(renamed, shape, name)
    if len(shape) != 2:
        raise NamingError(
            "bad-shape", f"tensor {name[:200]!r} has shape {shape}, but a Conv1D has two dimensions."
        )
    inputs, outputs = shape
    return Target(
        renamed, (outputs, inputs), name,
        rows_together=rows_at_once(outputs, inputs), read=transposed([Run(name, 0, inputs)], outputs),
    )  # fmt: skip


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The `gpt2.*` keys, in the reference converter's order; the feed-forward is four times as wide, as always."""
    hidden = read_count(config, "n_embd", 768)
    writer.add_block_count(read_count(config, "n_layer", 12))
    writer.add_context_length(find_count(config, "n_ctx", "n_positions", default=1024))
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(4 * hidden)
    writer.add_head_count(read_count(config, "n_head", 12))
    writer.add_layer_norm_eps(read_number(config, "layer_norm_epsilon", 1e-5))
    writer.add_file_type(file_type)


GPT2 = Family("gpt2", ("GPT2LMHeadModel",), targets, describe)
