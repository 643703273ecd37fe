"""Llama: LlamaForCausalLM (Llama 1 to 3, OpenLLaMA and a thousand others) and what shares its layout (Mistral).

| Hugging Face | GGUF |
|---|---|
| model.embed_tokens | token_embd |
| model.layers.N.self_attn.{q,k,v,o}_proj | blk.N.attn_{q,k,v,output} |
| model.layers.N.mlp.{gate,up,down}_proj | blk.N.ffn_{gate,up,down} |
| model.layers.N.{input,post_attention}_layernorm | blk.N.{attn,ffn}_norm |
| model.norm, lm_head | output_norm, output (absent when tied) |

Hugging Face rotates halves of a head, ggml rotates neighbours; so the rows of q and k are interleaved head by head:
row (half, i) of a head moves to (i, half). Llama 3's stretched RoPE becomes a tensor of frequency factors.
(llama.cpp: conversion/llama.py at 82bb48500; names from the gguf package's tensor map.)
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gguf
import numpy as np

from conversion.naming.base import (
    Config,
    Family,
    NamingError,
    Rows,
    Shapes,
    Target,
    read_count,
    read_number,
)
from conversion.naming.defaults import head_dimension, with_defaults, with_rope_theta
from conversion.naming.hyperparameters import describe_hyperparameters, full_attention, read_rope
from conversion.naming.renaming import BUFFERS, Rename, renamer
from conversion.naming.vocabulary import describe_vocabulary
from conversion.naming.vocabulary.files import read_json

ROTATED = ("q_proj.weight", "k_proj.weight", "q_proj.bias", "k_proj.bias")
ROPES = ("default", "linear", "yarn", "llama3", "dynamic")
CODE_LLAMA_VOCABULARY, CODE_LLAMA_EOT = 32016, 32010
SMALL_GRANITE_VOCABULARY = 49152  # SmolLM and SmolLM2 have the same size, and the reference treats them alike


def targets_like_llama(
    architecture: gguf.MODEL_ARCH, settings_of: Callable[[Config], Config]
) -> Callable[[Config, Shapes], list[Target]]:
    """The `targets` of a family with Llama's tensors: frequency factors if the config asks for them, then the rest."""

    def targets(config: Config, shapes: Shapes) -> list[Target]:
        settings = settings_of(config)
        rename = renamer(architecture, read_count(settings, "num_hidden_layers"))
        return rope_targets(settings) + [
            rotated_target(settings, rename, name, shape)
            for name, shape in shapes.items()
            if not name.endswith(BUFFERS)
        ]

    return targets


def settings_of(config: Config) -> Config:
    """The settings of a Llama or a Mistral, with what transformers takes for granted."""
    mistral = {"num_key_value_heads": 8} if config.get("model_type") == "mistral" else {}
    settings = with_defaults(config, rms_norm_eps=1e-6, head_dim=_whole_heads(config), **mistral)
    read_count(settings, "max_position_embeddings")
    read_count(settings, "intermediate_size")
    return with_rope_theta(settings)


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The `llama.*` keys, in the reference converter's order."""
    describe_like_llama(settings_of(config), file_type, writer)


def describe_like_llama(settings: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys of a family that the reference derives from Llama's class."""
    _check_rope(settings)
    describe_hyperparameters(settings, file_type, writer)
    writer.add_vocab_size(read_count(settings, "vocab_size"))
    writer.add_rope_dimension_count(head_dimension(settings))


def vocabulary(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """SentencePiece or BPE, whether a space is put before a text, and what the reference knows by size alone."""
    add_prefix_space = read_json(folder / "tokenizer_config.json").get("add_prefix_space")
    if isinstance(add_prefix_space, bool):
        writer.add_add_space_prefix(add_prefix_space)
    describe_vocabulary(config, folder, writer)
    size = read_count(config, "vocab_size")
    if size == CODE_LLAMA_VOCABULARY:
        writer.add_eot_token_id(CODE_LLAMA_EOT)
    if size == SMALL_GRANITE_VOCABULARY:
        writer.add_add_bos_token(False)


def interleave_halves(rows: Rows, head_dim: int) -> Rows:
    """float32 (n * head_dim, cols): within each head, row (half, i) moves to (i, half)."""
    n_cols = rows.shape[1]
    heads = rows.reshape(-1, 2, head_dim // 2, n_cols)
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(-1, n_cols)


def rope_targets(settings: Config) -> list[Target]:
    """`rope_freqs.weight` where RoPE is stretched as in Llama 3."""
    made = frequency_factors(settings)
    return [] if made is None else [Target("rope_freqs.weight", made.shape, values=made)]


def frequency_factors(config: Config) -> Rows | None:
    """float32 (head_dim / 2,): what Llama 3 divides each RoPE frequency by; None for any other RoPE.

    Every step is rounded to float32, as in the reference.
    """
    rope = full_attention(read_rope(config))
    if str(rope.get("rope_type", "")).lower() != "llama3":
        return None
    f32 = np.float32
    dim = head_dimension(config)
    base = read_number(rope, "rope_theta", 10000.0)
    factor = read_number(rope, "factor", 8.0)
    low, high = read_number(rope, "low_freq_factor", 1.0), read_number(rope, "high_freq_factor", 4.0)
    old_context = read_number(rope, "original_max_position_embeddings", 8192)
    exponents = np.arange(0, dim, 2, dtype=np.float32) / f32(dim)
    # The power in double, rounded once: the nearest float32, which is what a good powf gives.
    frequencies = f32(1) / np.power(base, exponents.astype(np.float64)).astype(np.float32)
    wavelengths = f32(2 * math.pi) / frequencies
    with np.errstate(divide="ignore", invalid="ignore"):
        # Llama 4 has one factor for low and high: no frequency lies between, and none is blended.
        smooth = (f32(old_context) / wavelengths - f32(low)) / f32(high - low)
        blended = f32(1) / ((f32(1) - smooth) / f32(factor) + smooth)
    longest, shortest = f32(old_context / low), f32(old_context / high)
    factors = np.where(wavelengths > longest, f32(factor), blended)
    return np.where(wavelengths < shortest, f32(1), factors).astype(np.float32)


def rotated_target(settings: Config, rename: Rename, name: str, shape: tuple[int, ...]) -> Target:
    """The tensor under its new name; the rows of q and k interleaved."""
    if not name.endswith(ROTATED):
        return Target(rename(name), shape, name)
    key = "num_attention_heads" if ".q_proj." in name else "num_key_value_heads"
    n_heads = read_count(settings, key)
    rows = shape[0] if shape else 0
    if rows == 0 or rows % (2 * n_heads) or len(shape) > 2:
        raise NamingError(
            "bad-config",
            f"tensor {name[:200]!r} of shape {shape} does not divide into {n_heads} heads of two halves.",
        )
    head_dim = rows // n_heads
    if len(shape) == 1:
        return Target(rename(name), shape, name, 1, partial(_interleave_bias, head_dim=head_dim))
    return Target(rename(name), shape, name, head_dim, partial(interleave_halves, head_dim=head_dim))


def _interleave_bias(row: Rows, head_dim: int) -> Rows:
    return interleave_halves(row.reshape(-1, 1), head_dim).reshape(row.shape)


def _whole_heads(config: Config) -> int | None:
    """What transformers takes for `head_dim`; None if that cannot be said, which `with_defaults` then refuses."""
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    return hidden // heads if type(hidden) is int and type(heads) is int and heads > 0 else None


def _check_rope(settings: Config) -> None:
    kind = str(full_attention(read_rope(settings)).get("rope_type", "default")).lower()
    if kind not in ROPES:
        raise NamingError(
            "unsupported-rope",
            f"RoPE of type {kind[:60]!r} cannot be converted yet. Supported: {', '.join(ROPES)}.",
        )


LLAMA = Family(
    "llama",
    ("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"),
    targets_like_llama(gguf.MODEL_ARCH.LLAMA, settings_of),
    describe,
    vocabulary=vocabulary,
)
