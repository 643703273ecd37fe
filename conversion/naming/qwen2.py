"""Qwen2 and Qwen2.5: Llama's layout with biases on q, k and v, whose rows stay in the order they have.

(llama.cpp: conversion/qwen.py, Qwen2Model)
"""

from pathlib import Path

import gguf

from conversion.naming.base import Config, Family
from conversion.naming.bert import read_pooling
from conversion.naming.defaults import with_defaults, with_rope_theta
from conversion.naming.hyperparameters import describe_hyperparameters
from conversion.naming.plain import renamed_targets


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys every family has, with what transformers takes for granted."""
    settings = with_defaults(config, num_key_value_heads=32, rms_norm_eps=1e-6, max_position_embeddings=32768)
    describe_hyperparameters(with_rope_theta(settings), file_type, writer)


def describe_pooling(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """How vectors are pooled, for those of the family that make embeddings."""
    pooling = read_pooling(folder)
    if pooling is not None:
        writer.add_pooling_type(pooling)


QWEN2 = Family(
    "qwen2",
    ("Qwen2ForCausalLM",),
    renamed_targets(gguf.MODEL_ARCH.QWEN2),
    describe,
    describe_files=describe_pooling,
)
