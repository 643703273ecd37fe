"""NomicBERT: BERT with rotary positions and a gated feed-forward, and its variant with experts (v2).

The variant has experts in every other layer, all of one layer in one matrix: rows are expert by expert, and the second
matrix is stored transposed; the bias that all experts of a layer share is left out, as the reference leaves it out.
(llama.cpp: conversion/bert.py, NomicBertModel)
"""

from pathlib import Path
from typing import Any

import gguf

from conversion.naming import bert
from conversion.naming.base import Config, Family, NamingError, Shapes, Target, read_count
from conversion.naming.hyperparameters import N_LAYERS, find_count
from conversion.naming.reading import Run, transposed
from conversion.naming.renaming import check_parts, check_shape, renamer
from conversion.naming.vocabulary import unigram, wordpiece

CONTEXTS = {8192: 2048, 2048: 512}
"""What a model was trained for, by the `n_positions` its config claims."""

FIXED: dict[str, Any] = {
    "causal": False, "prenorm": False, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
}  # fmt: skip
"""What llama.cpp takes for granted of every NomicBERT."""

BY_KIND = ("qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias")
"""Biases: all there with experts, none without."""


def has_experts(config: Config) -> bool:
    return bool(config.get("moe_every_n_layers"))


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Every tensor of the encoder in its order. NamingError `unsupported-layout` for a layout ggml does not compute."""
    _check_layout(config)
    kind = gguf.MODEL_ARCH.NOMIC_BERT_MOE if has_experts(config) else gguf.MODEL_ARCH.NOMIC_BERT
    rename = renamer(kind, find_count(config, *N_LAYERS))
    result = []
    for name, shape in shapes.items():
        plain = bert.plain_name(name)
        if plain is None or "mlp.experts.bias" in plain:
            continue
        if "mlp.experts.mlp.w" in plain:
            result.append(_experts(config, rename(f"{plain}.weight"), name, shape))
        else:
            result.append(Target(rename(plain), shape, name))
    return result


def _experts(config: Config, renamed: str, name: str, shape: tuple[int, ...]) -> Target:
    n_experts = find_count(config, "num_local_experts", "num_experts")
    inner = find_count(config, "n_inner", "intermediate_size")
    hidden = find_count(config, "n_embd", "hidden_size")
    check_shape(name, shape, (n_experts * inner, hidden))
    check_parts("experts", n_experts)
    if name.endswith("w1"):
        return Target(renamed, (n_experts, inner, hidden), name)
    blocks = [Run(name, expert * inner, inner) for expert in range(n_experts)]
    return Target(renamed, (n_experts, hidden, inner), name, read=transposed(blocks, hidden))


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys of BERT, with the context the model was trained for."""
    positions = read_count(config, "n_positions", 8192)
    if positions not in CONTEXTS or read_count(config, "max_trained_positions", 2048) != 2048:
        raise NamingError(
            "bad-config",
            f"config.json: a NomicBERT with n_positions {positions} is not known to anyone here.",
        )
    settings = {**config, "n_positions": CONTEXTS[positions]}
    n_heads = find_count(config, "num_attention_heads", "n_head")
    settings.setdefault("head_dim", find_count(config, "hidden_size", "n_embd") // n_heads)
    bert.describe(settings, file_type, writer)


def describe_files(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """As BERT, then how often a layer has experts and how many of them see a token."""
    bert.describe_files(config, folder, writer)
    if has_experts(config):
        writer.add_moe_every_n_layers(read_count(config, "moe_every_n_layers"))
        writer.add_expert_used_count(read_count(config, "moe_top_k"))


def vocabulary(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """WordPiece or Unigram, whichever tokenizer.json holds."""
    if wordpiece.is_present(folder):
        wordpiece.describe(config, folder, writer)
    else:
        unigram.describe(config, folder, writer)


def _check_layout(config: Config) -> None:
    expected = FIXED | dict.fromkeys(BY_KIND, has_experts(config))
    expected["activation_function"] = "gelu" if has_experts(config) else "swiglu"
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise NamingError(
                "unsupported-layout",
                f"config.json: a NomicBERT with {key} {config[key]!r:.60} is not computed by llama.cpp, which takes "
                f"{value!r} for granted.",
            )


def _variant(config: Config) -> Family | None:
    return NOMIC_BERT_MOE if has_experts(config) else None


NOMIC_BERT_MOE = Family(
    "nomic-bert-moe",
    ("NomicBertModel",),
    targets,
    describe,
    vocabulary=vocabulary,
    describe_files=describe_files,
)
NOMIC_BERT = Family(
    "nomic-bert",
    ("NomicBertModel",),
    targets,
    describe,
    vocabulary=vocabulary,
    describe_files=describe_files,
    variant=_variant,
)
