"""Qwen3: Qwen2 without biases, with a norm on each head of q and k and a head size of its own.

(llama.cpp: conversion/qwen.py, Qwen3Model)
"""

import gguf

from conversion.naming.base import Config, Family
from conversion.naming.defaults import with_defaults, with_rope_theta
from conversion.naming.hyperparameters import describe_hyperparameters
from conversion.naming.plain import renamed_targets
from conversion.naming.qwen2 import describe_pooling


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys every family has, with what transformers takes for granted."""
    settings = with_defaults(
        config, num_key_value_heads=32, rms_norm_eps=1e-6, max_position_embeddings=32768, head_dim=128
    )
    describe_hyperparameters(with_rope_theta(settings), file_type, writer)


QWEN3 = Family(
    "qwen3",
    ("Qwen3ForCausalLM",),
    renamed_targets(gguf.MODEL_ARCH.QWEN3),
    describe,
    describe_files=describe_pooling,
)
