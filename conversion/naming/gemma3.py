"""Gemma 3: the language model alone, whether it stands by itself or inside a model that also sees.

Layers take turns between a sliding window with a RoPE of its own and the whole context. Vision towers and projectors
are left out; they are a file of their own in llama.cpp. Embedding rows beyond the vocabulary are cut off.
(llama.cpp: conversion/gemma.py, Gemma3Model)
"""

from pathlib import Path
from typing import Any

import gguf

from conversion.naming.base import Config, Family, NamingError, Shapes, Target, read_count, read_number
from conversion.naming.gemma import norm_target
from conversion.naming.hyperparameters import (
    describe_hyperparameters,
    full_attention,
    read_rope,
    text_settings,
)
from conversion.naming.reading import Run, of_runs
from conversion.naming.renaming import BUFFERS, renamer
from conversion.naming.vocabulary import sentencepiece

VISION = ("vision_tower.", "vision_model.", "multi_modal_projector.", "multimodal_projector.")

DEFAULTS: dict[str, Any] = {
    "max_position_embeddings": 131072, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    "rms_norm_eps": 1e-6, "vocab_size": 262208, "sliding_window": 4096, "num_hidden_layers": 26,
    "hidden_size": 2304, "intermediate_size": 9216,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
}  # fmt: skip
"""What published configs leave out, as transformers fills it in (Gemma3TextConfig)."""


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Every tensor of the language model in its order."""
    config = settings(config)
    rename = renamer(gguf.MODEL_ARCH.GEMMA3, read_count(config, "num_hidden_layers"))
    result = []
    for name, shape in shapes.items():
        plain = name.replace("language_model.", "")
        if (
            any(part in name for part in VISION)
            or plain.endswith(BUFFERS)
            or plain.endswith("lm_head.weight")
        ):
            continue
        target = norm_target(rename(plain), name, shape)
        result.append(
            _without_unused_rows(config, target) if plain.endswith("embed_tokens.weight") else target
        )
    return result


def _without_unused_rows(config: Config, target: Target) -> Target:
    n_vocab, shape = read_count(config, "vocab_size"), target.shape
    if len(shape) != 2 or shape[0] <= n_vocab:
        return target
    kept = of_runs([Run(target.source, 0, n_vocab)])
    return Target(target.name, (n_vocab, shape[1]), target.source, read=kept)


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys that most families have, the window, and a soft cap on the logits where there is one."""
    config = settings(config)
    if config.get("attn_logit_softcapping") is not None:
        raise NamingError("bad-config", "config.json: a Gemma 3 has no attn_logit_softcapping.")
    describe_hyperparameters(config, file_type, writer)
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(read_number(config, "final_logit_softcapping", 0.0))
    if config.get("sliding_window_pattern") != 1:
        writer.add_sliding_window(read_count(config, "sliding_window"))


def settings(config: Config) -> dict[str, Any]:
    """The language model's config with DEFAULTS where it says nothing, and its RoPE in the new spelling."""
    found = {key: value for key, value in text_settings(config).items() if value is not None}
    rope = read_rope(found)
    if rope and "full_attention" not in rope:
        found["rope_parameters"] = _split_rope(rope)
    return DEFAULTS | found


def _split_rope(rope: dict[str, Any]) -> dict[str, Any]:
    """An old config's single RoPE is the full attention's; the sliding one's base stood alone."""
    sliding = rope.pop("sliding_attention", {"rope_theta": 1e4})
    rope.setdefault("rope_theta", 1e6)
    return {"full_attention": dict(full_attention(rope)), "sliding_attention": sliding}


def vocabulary(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """A SentencePiece vocabulary, and no space before a text. NamingError `no-tokenizer` without tokenizer.model."""
    if not sentencepiece.is_present(folder):
        raise NamingError(
            "no-tokenizer",
            "a Gemma 3 is converted with its tokenizer.model, which this checkpoint does not have. Take it from the "
            "checkpoint that this one was made from.",
        )
    sentencepiece.describe(settings(config), folder, writer)
    writer.add_add_space_prefix(False)


GEMMA3 = Family(
    "gemma3",
    ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    targets,
    describe,
    vocabulary=vocabulary,
)
