"""OLMoE: OLMo with experts and norms on q and k; rows of q and k stay in the order they have.

(llama.cpp: conversion/olmo.py, OlmoeModel)
"""

import gguf

from conversion.naming.base import Config, Family
from conversion.naming.defaults import with_defaults, with_rope_theta
from conversion.naming.hyperparameters import describe_hyperparameters
from conversion.naming.qwen_moe import targets_with_experts

EPSILON = 1e-5  # whatever the config says: what OLMoE was trained with


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys every family has."""
    settings = with_defaults(config, num_experts=64, num_experts_per_tok=8, max_position_embeddings=4096)
    describe_hyperparameters(with_rope_theta(settings | {"rms_norm_eps": EPSILON}), file_type, writer)


OLMOE = Family("olmoe", ("OlmoeForCausalLM",), targets_with_experts(gguf.MODEL_ARCH.OLMOE), describe)
