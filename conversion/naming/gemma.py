"""Gemma: GemmaForCausalLM, and what Gemma 2 and 3 share with it.

Gemma's RMSNorm multiplies by 1 + weight, ggml's by the weight; so every norm is stored with 1 added. The output is the
embedding, transposed: an `lm_head.weight` that some tools write out is a copy and is left out. No space is put before a
text. (llama.cpp: conversion/gemma.py)
"""

from collections.abc import Callable
from pathlib import Path

import gguf

from conversion.naming.base import Config, Family, Shapes, Target, read_count, read_number
from conversion.naming.hyperparameters import N_LAYERS, find_count
from conversion.naming.reading import plus_one
from conversion.naming.renaming import BUFFERS, renamer
from conversion.naming.vocabulary import sentencepiece

END_OF_TURN = 107
"""What ends a turn in Gemma's own vocabulary; the reference writes it for every Gemma 1."""


def renamed_with_norms(architecture: gguf.MODEL_ARCH) -> Callable[[Config, Shapes], list[Target]]:
    """The `targets` of a Gemma: every tensor renamed, norms with 1 added."""

    def targets(config: Config, shapes: Shapes) -> list[Target]:
        rename = renamer(architecture, find_count(config, *N_LAYERS))
        return [
            norm_target(rename(name), name, shape)
            for name, shape in shapes.items()
            if name != "lm_head.weight" and not name.endswith(BUFFERS)
        ]

    return targets


def norm_target(renamed: str, name: str, shape: tuple[int, ...]) -> Target:
    """The tensor as it is, or with 1 added if it is a norm."""
    if name.endswith("norm.weight"):
        return Target(renamed, shape, name, read=plus_one(name))
    return Target(renamed, shape, name)


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The `gemma.*` keys."""
    describe_gemma(config, file_type, writer, n_key_heads=16)


def describe_gemma(config: Config, file_type: int, writer: gguf.GGUFWriter, *, n_key_heads: int) -> None:
    """The keys that Gemma 1 and 2 have, in the reference's order; `n_key_heads` where the config is silent."""
    writer.add_context_length(read_count(config, "max_position_embeddings", 8192))
    writer.add_embedding_length(read_count(config, "hidden_size"))
    writer.add_block_count(read_count(config, "num_hidden_layers"))
    writer.add_feed_forward_length(read_count(config, "intermediate_size"))
    writer.add_head_count(read_count(config, "num_attention_heads"))
    writer.add_head_count_kv(read_count(config, "num_key_value_heads", n_key_heads))
    writer.add_layer_norm_rms_eps(read_number(config, "rms_norm_eps", 1e-6))
    writer.add_key_length(read_count(config, "head_dim", 256))
    writer.add_value_length(read_count(config, "head_dim", 256))
    writer.add_file_type(file_type)


def vocabulary(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """A SentencePiece vocabulary, the end of a turn, and no space before a text."""
    sentencepiece.describe(config, folder, writer)
    writer.add_eot_token_id(END_OF_TURN)
    writer.add_add_space_prefix(False)


GEMMA = Family(
    "gemma",
    ("GemmaForCausalLM",),
    renamed_with_norms(gguf.MODEL_ARCH.GEMMA),
    describe,
    vocabulary=vocabulary,
)
