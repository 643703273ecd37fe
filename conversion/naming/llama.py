"""Llama: LlamaForCausalLM and what shares its layout (Mistral).

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
from functools import partial

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
from conversion.naming.rope import describe_rope, rope_parameters

LEFT_OUT = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")
"""Buffers old checkpoints carry; ggml computes them itself."""


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Frequency factors if the config asks for them, then every tensor of the checkpoint in its order."""
    n_layers = read_count(config, "num_hidden_layers")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, n_layers)
    made = frequency_factors(config)
    result = [] if made is None else [Target("rope_freqs.weight", made.shape, values=made)]
    for name, shape in shapes.items():
        if name.endswith(LEFT_OUT):
            continue
        renamed = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if renamed is None:
            raise NamingError(
                "unknown-tensor",
                f"tensor {name[:200]!r} has no place in a Llama of {n_layers} layers. Either config.json or the "
                "checkpoint is not what it says.",
            )
        result.append(_target(config, renamed, name, shape))
    return result


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The `llama.*` keys, in the reference converter's order."""
    head_dim = head_dimension(config)
    writer.add_block_count(read_count(config, "num_hidden_layers"))
    writer.add_context_length(read_count(config, "max_position_embeddings"))
    writer.add_embedding_length(read_count(config, "hidden_size"))
    writer.add_feed_forward_length(read_count(config, "intermediate_size"))
    writer.add_head_count(read_count(config, "num_attention_heads"))
    writer.add_head_count_kv(kv_heads(config))
    describe_rope(config, writer)
    writer.add_layer_norm_rms_eps(read_number(config, "rms_norm_eps", 1e-6))
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_file_type(file_type)
    writer.add_vocab_size(read_count(config, "vocab_size"))
    writer.add_rope_dimension_count(head_dim)


def kv_heads(config: Config) -> int:
    default = 8 if config.get("model_type") == "mistral" else read_count(config, "num_attention_heads")
    if "num_key_value_heads" in config and config["num_key_value_heads"] is None:
        default = read_count(config, "num_attention_heads")
    return read_count(config, "num_key_value_heads", default)


def head_dimension(config: Config) -> int:
    """`head_dim`, or hidden size over heads where the config does not say (transformers fills it in the same way)."""
    return read_count(
        config,
        "head_dim",
        read_count(config, "hidden_size") // read_count(config, "num_attention_heads"),
    )


def interleave_halves(rows: Rows, head_dim: int) -> Rows:
    """float32 (n * head_dim, cols): within each head, row (half, i) moves to (i, half)."""
    n_cols = rows.shape[1]
    heads = rows.reshape(-1, 2, head_dim // 2, n_cols)
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(-1, n_cols)


def frequency_factors(config: Config) -> Rows | None:
    """float32 (head_dim / 2,): what Llama 3 divides each RoPE frequency by; None for any other RoPE.

    Every step is rounded to float32, as in the reference.
    """
    rope = rope_parameters(config)
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
    smooth = (f32(old_context) / wavelengths - f32(low)) / f32(high - low)
    blended = f32(1) / ((f32(1) - smooth) / f32(factor) + smooth)
    longest, shortest = f32(old_context / low), f32(old_context / high)
    factors = np.where(wavelengths > longest, f32(factor), blended)
    return np.where(wavelengths < shortest, f32(1), factors).astype(np.float32)


def _target(config: Config, renamed: str, name: str, shape: tuple[int, ...]) -> Target:
    if not name.endswith(("q_proj.weight", "k_proj.weight", "q_proj.bias", "k_proj.bias")):
        return Target(renamed, shape, name)
    n_heads = read_count(config, "num_attention_heads") if ".q_proj." in name else kv_heads(config)
    rows = shape[0] if shape else 0
    if rows == 0 or rows % (2 * n_heads) or len(shape) > 2:
        raise NamingError(
            "bad-config",
            f"tensor {name[:200]!r} of shape {shape} does not divide into {n_heads} heads of two halves.",
        )
    head_dim = rows // n_heads
    if len(shape) == 1:
        return Target(renamed, shape, name, 1, partial(_interleave_bias, head_dim=head_dim))
    return Target(renamed, shape, name, head_dim, partial(interleave_halves, head_dim=head_dim))


def _interleave_bias(row: Rows, head_dim: int) -> Rows:
    return interleave_halves(row.reshape(-1, 1), head_dim).reshape(row.shape)


LLAMA = Family("llama", ("LlamaForCausalLM", "MistralForCausalLM"), targets, describe)
