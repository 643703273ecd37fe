"""OLMo: Llama with norms that have no weights, and q, k and v perhaps clamped.

(llama.cpp: conversion/olmo.py, OlmoModel)
"""

from typing import Any

import gguf

from conversion.naming.base import Config, Family, read_number
from conversion.naming.defaults import with_defaults, with_rope_theta
from conversion.naming.hyperparameters import describe_hyperparameters
from conversion.naming.llama import targets_like_llama

EPSILON = 1e-5  # of the norms; a constant of the architecture, in no config


def settings_of(config: Config) -> dict[str, Any]:
    """The settings of an OLMo, with what transformers takes for granted."""
    return with_rope_theta(with_defaults(config, max_position_embeddings=2048))


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys every family has, then the epsilon and the clamp."""
    settings = settings_of(config)
    describe_hyperparameters(settings, file_type, writer)
    writer.add_layer_norm_eps(EPSILON)
    if settings.get("clip_qkv") is not None:
        writer.add_clamp_kqv(read_number(settings, "clip_qkv", 0.0))


OLMO = Family("olmo", ("OlmoForCausalLM",), targets_like_llama(gguf.MODEL_ARCH.OLMO, settings_of), describe)
