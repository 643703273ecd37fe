"""Phi-3 and Phi-4: Phi3ForCausalLM.

`qkv_proj` and `gate_up_proj` stay fused, as ggml computes them. Models with a long context have two sets of RoPE
frequency factors, for texts that fit the original context and for longer ones; both become tensors, and attention's
scale with them a key. Phi-4's missing sliding window is written as 0, by which llama.cpp tells it from Phi-3.
(llama.cpp: conversion/phi.py, Phi3MiniModel)
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from conversion.naming.base import Config, Family, NamingError, Rows, Shapes, Target, read_count, read_number
from conversion.naming.hyperparameters import find_count, full_attention, read_rope
from conversion.naming.renaming import BUFFERS, renamer
from conversion.naming.vocabulary import bpe, sentencepiece
from conversion.naming.vocabulary.files import (
    ADDED_SCORE,
    UNUSED_SCORE,
    read_json,
    read_limited,
    read_vocab_size,
)
from conversion.naming.vocabulary.special import describe_special


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Frequency factors where the config has them, then every tensor in its order."""
    rename = renamer(gguf.MODEL_ARCH.PHI3, read_count(config, "num_hidden_layers"))
    factors = [Target(name, values.shape, values=values) for name, values in _factors(config).items()]
    return factors + [
        Target(rename(name), shape, name) for name, shape in shapes.items() if not name.endswith(BUFFERS)
    ]


def describe_first(config: Config, writer: gguf.GGUFWriter) -> None:
    """What attention is scaled by in a model with frequency factors; the reference sets this key before all others."""
    rope = read_rope(config)
    if not rope.get("long_factor"):
        return
    original = read_count(rope, "original_max_position_embeddings", 4096)
    stretch = read_count(config, "max_position_embeddings", 4096) / original
    factor = 1.0
    if stretch > 1 and rope.get("rope_type") in ("su", "longrope"):
        factor = math.sqrt(1 + math.log(stretch) / math.log(original))
    elif stretch > 1:
        factor = 0.1 * math.log(stretch) + 1
    writer.add_rope_scaling_attn_factors(factor)


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The `phi3.*` keys, in the reference converter's order."""
    rope = read_rope(config)
    n_heads = find_count(config, "n_head", "num_attention_heads")
    writer.add_context_length(find_count(config, "n_positions", "max_position_embeddings"))
    writer.add_rope_scaling_orig_ctx_len(read_count(rope, "original_max_position_embeddings", 4096))
    writer.add_embedding_length(find_count(config, "n_embd", "hidden_size"))
    writer.add_feed_forward_length(read_count(config, "intermediate_size"))
    writer.add_block_count(read_count(config, "num_hidden_layers"))
    writer.add_head_count(n_heads)
    writer.add_head_count_kv(find_count(config, "n_head_kv", "num_key_value_heads", default=n_heads))
    writer.add_layer_norm_rms_eps(read_number(config, "rms_norm_eps", 1e-5))
    writer.add_rope_dimension_count(_n_rotated(config))
    writer.add_rope_freq_base(read_number(full_attention(rope), "rope_theta", 10000.0))
    writer.add_file_type(file_type)
    window = config.get("sliding_window")
    writer.add_sliding_window(0 if window is None else read_count(config, "sliding_window"))


def _n_rotated(config: Config) -> int:
    hidden, n_heads = (
        find_count(config, "n_embd", "hidden_size"),
        find_count(config, "n_head", "num_attention_heads"),
    )
    return int(read_number(read_rope(config), "partial_rotary_factor", 1.0) * hidden) // n_heads


def _factors(config: Config) -> dict[str, Rows]:
    """Name -> float32 (rotated dimensions / 2,), long and short; {} for a model without."""
    rope = read_rope(config)
    if not rope.get("long_factor"):
        return {}
    kind = rope.get("rope_type")
    if kind not in ("su", "longrope", "yarn"):
        raise NamingError("unsupported-rope", f"RoPE of type {kind!r:.60} cannot have frequency factors.")
    size = _n_rotated(config) // 2
    return {
        f"rope_factors_{which}.weight": _numbers(rope, f"{which}_factor", size) for which in ("long", "short")
    }


def _numbers(rope: Mapping[str, Any], key: str, size: int) -> Rows:
    found = rope.get(key)
    if not isinstance(found, list) or len(found) != size:
        raise NamingError("bad-config", f"config.json: {key} must be a list of {size} numbers.")
    return np.array([read_number({key: value}, key, 1.0) for value in found], dtype=np.float32)


def vocabulary(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """Byte-level BPE where the tokenizer is GPT-2's (Phi-4), or else SentencePiece with Phi-3's added tokens."""
    is_gpt2 = read_json(folder / "tokenizer_config.json").get("tokenizer_class") == "GPT2Tokenizer"
    if is_gpt2 or not sentencepiece.is_present(folder):
        bpe.describe(config, folder, writer)
        return
    tokens = _read_tokens(folder, read_vocab_size(config))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.text for token in tokens])
    writer.add_token_scores([token.score for token in tokens])
    writer.add_token_types([token.type for token in tokens])
    describe_special(folder, writer, merges=False, n_vocab=len(tokens))


def _read_tokens(folder: Path, vocab_size: int) -> list[sentencepiece.Token]:
    """The pieces, then the added tokens of three files, each as it is written: here no token merely looks special."""
    pieces = list(sentencepiece.read_pieces(read_limited(folder / sentencepiece.FILE_NAME)))[:vocab_size]
    gaps = range(len(pieces), vocab_size)
    tokens = pieces + [
        sentencepiece.Token(f"[PAD{number}]", UNUSED_SCORE, sentencepiece.UNUSED) for number in gaps
    ]
    for number, text, is_special in _added(folder):
        if type(number) is int and isinstance(text, str) and 0 <= number < vocab_size:
            kind = sentencepiece.CONTROL if is_special else sentencepiece.USER_DEFINED
            tokens[number] = sentencepiece.Token(text, ADDED_SCORE, kind)
    return tokens


def _added(folder: Path) -> list[tuple[Any, Any, bool]]:
    found: list[tuple[Any, Any, bool]] = [
        (number, text, False) for text, number in read_json(folder / "added_tokens.json").items()
    ]
    decoder = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
    listed = read_json(folder / "tokenizer.json").get("added_tokens") or []
    try:
        found += [(int(number), one["content"], bool(one.get("special"))) for number, one in decoder.items()]
        found += [(one["id"], one["content"], bool(one.get("special"))) for one in listed]
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise NamingError(
            "bad-tokenizer", f"the tokenizer's added tokens cannot be read: {error!r:.100}"
        ) from error
    return found


PHI3 = Family(
    "phi3",
    ("Phi3ForCausalLM",),
    targets,
    describe,
    vocabulary=vocabulary,
    describe_first=describe_first,
)
