"""Granite: Llama with four multipliers: of attention, embeddings, residuals and logits.

(llama.cpp: conversion/granite.py, GraniteModel)
"""

from typing import Any

import gguf

from conversion.naming.base import Config, Family, read_number
from conversion.naming.defaults import with_defaults, with_rope_theta
from conversion.naming.llama import describe_like_llama, targets_like_llama, vocabulary


def settings_of(config: Config) -> dict[str, Any]:
    """The settings of a Granite, with what transformers takes for granted. A `head_dim` is not its own to choose."""
    settings = with_defaults(
        config, rms_norm_eps=1e-6, attention_multiplier=1.0, embedding_multiplier=1.0, residual_multiplier=1.0,
        logits_scaling=1.0, max_position_embeddings=2048,
    )  # fmt: skip
    return {key: value for key, value in with_rope_theta(settings).items() if key != "head_dim"}


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys of Llama, then the multipliers that are not zero."""
    settings = settings_of(config)
    describe_like_llama(settings, file_type, writer)
    multipliers = {
        "attention_multiplier": writer.add_attention_scale,
        "embedding_multiplier": writer.add_embedding_scale,
        "residual_multiplier": writer.add_residual_scale,
        "logits_scaling": writer.add_logit_scale,
    }
    for key, write in multipliers.items():
        if value := read_number(settings, key, 1.0):
            write(value)


GRANITE = Family(
    "granite",
    ("GraniteForCausalLM",),
    targets_like_llama(gguf.MODEL_ARCH.GRANITE, settings_of),
    describe,
    vocabulary=vocabulary,
)
