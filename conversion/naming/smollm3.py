"""SmolLM3: Llama without RoPE in every fourth layer.

llama.cpp leaves RoPE out of exactly those layers and reads nothing about it from the file; so any other pattern is
refused.
(llama.cpp: conversion/llama.py, SmolLM3Model; src/models/smollm3.cpp)
"""

import gguf

from conversion.naming.base import Config, Family, NamingError
from conversion.naming.defaults import with_defaults, with_rope_theta
from conversion.naming.llama import describe_like_llama, targets_like_llama, vocabulary

WITHOUT_ROPE_STEP = 4


def settings_of(config: Config) -> Config:
    """The settings of a SmolLM3, with what transformers takes for granted; NamingError `unsupported-rope`."""
    settings = with_defaults(config, num_key_value_heads=4, rms_norm_eps=1e-6, max_position_embeddings=32768)
    pattern = settings.get("no_rope_layers")
    expected = [int((layer + 1) % WITHOUT_ROPE_STEP != 0) for layer in range(settings["num_hidden_layers"])]
    if pattern and pattern != expected:
        raise NamingError(
            "unsupported-rope",
            f"config.json: no_rope_layers is {str(pattern)[:80]}, but llama.cpp leaves RoPE out of every "
            f"{WITHOUT_ROPE_STEP}th layer of a SmolLM3 and no other.",
        )
    return with_rope_theta(settings, 2e6)


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys of Llama under SmolLM3's name."""
    describe_like_llama(settings_of(config), file_type, writer)


SMOLLM3 = Family(
    "smollm3",
    ("SmolLM3ForCausalLM",),
    targets_like_llama(gguf.MODEL_ARCH.SMOLLM3, settings_of),
    describe,
    vocabulary=vocabulary,
)
