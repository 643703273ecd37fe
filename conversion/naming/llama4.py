"""Llama 4: the language model of Scout and Maverick; the part that sees is left out.

Some layers have experts, stored together and transposed: gate_up_proj is (n_experts, hidden, 2 * ffn), down_proj
(n_experts, ffn, hidden). GGUF has them as matrices like any other, gate and up apart. Rows of q and k stay as they are.

| Hugging Face | GGUF |
|---|---|
| feed_forward.router | ffn_gate_inp |
| feed_forward.experts.gate_up_proj | ffn_gate_exps, ffn_up_exps |
| feed_forward.experts.down_proj | ffn_down_exps |
| feed_forward.shared_expert.{gate,up,down}_proj | ffn_{gate,up,down}_shexp |

(llama.cpp: conversion/llama.py, Llama4Model)
"""

from pathlib import Path
from typing import Any

import gguf

from conversion.naming.base import Config, Family, NamingError, Shapes, Target, read_count
from conversion.naming.defaults import with_defaults, with_rope_theta
from conversion.naming.hyperparameters import text_settings
from conversion.naming.llama import describe_like_llama, rope_targets
from conversion.naming.reading import Run, transposed
from conversion.naming.renaming import BUFFERS, layer_of, renamer
from conversion.naming.vocabulary import bpe

SEEING = ("vision_model.", "multi_modal_projector.", "model.vision_model.", "model.multi_modal_projector.")
GATE_UP, DOWN = ".experts.gate_up_proj", ".experts.down_proj"

TOGETHER_ELEMENTS = 1 << 23
"""Of a transposed expert. Every run of its rows reads the whole of it, so runs are as long as memory allows: 32 MB."""


def settings_of(config: Config) -> dict[str, Any]:
    """The settings of the language model, with what transformers takes for granted.

    `intermediate_size` is that of layers without experts, as everywhere else; Llama 4 calls it intermediate_size_mlp.
    """
    settings = with_defaults(
        config, num_key_value_heads=8, head_dim=128, rms_norm_eps=1e-5, num_local_experts=16, num_experts_per_tok=1,
        interleave_moe_layer_step=1, intermediate_size_mlp=16384, max_position_embeddings=131072,
    )  # fmt: skip
    sizes = {"intermediate_size_moe": settings.get("intermediate_size"),
             "intermediate_size": settings["intermediate_size_mlp"]}  # fmt: skip
    return with_rope_theta(settings | sizes, 500000.0)


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Frequency factors if the config asks for them, then every tensor of the language model in its order."""
    settings = settings_of(config)
    rename = renamer(gguf.MODEL_ARCH.LLAMA4, read_count(settings, "num_hidden_layers"))
    result = rope_targets(settings)
    for name, shape in shapes.items():
        if name.startswith(SEEING) or name.endswith(BUFFERS):
            continue
        if name.endswith((GATE_UP, DOWN)):
            result += _experts(name, shape)
        else:
            result.append(Target(rename(name.replace("language_model.", "")), shape, name))
    return result


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The keys of Llama, then how often a layer has experts and how large they are."""
    settings = settings_of(config)
    describe_like_llama(settings, file_type, writer)
    writer.add_interleave_moe_layer_step(read_count(settings, "interleave_moe_layer_step"))
    writer.add_expert_feed_forward_length(read_count(settings, "intermediate_size_moe"))
    kinds = settings.get("layer_types")
    if isinstance(kinds, list) and all(kind == "full_attention" for kind in kinds):
        writer.add_sliding_window(0)


def vocabulary(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """Byte-level BPE; how many tokens there are stands in the language model's config."""
    bpe.describe(text_settings(config), folder, writer)


def _experts(name: str, shape: tuple[int, ...]) -> list[Target]:
    kinds = ("ffn_gate_exps", "ffn_up_exps") if name.endswith(GATE_UP) else ("ffn_down_exps",)
    if len(shape) != 3 or shape[2] % len(kinds):
        raise NamingError("bad-shape", f"tensor {name[:200]!r} of shape {shape} does not hold experts.")
    n_experts, n_cols, n_rows = shape[0], shape[1], shape[2] // len(kinds)
    blocks = [Run(name, number * n_cols, n_cols) for number in range(n_experts)]
    return [
        Target(
            f"blk.{layer_of(name)}.{kind}.weight",
            (n_experts, n_rows, n_cols),
            rows_together=max(1, min(n_rows, TOGETHER_ELEMENTS // max(1, n_cols))),
            read=transposed(blocks, n_rows, offset=half * n_rows),
        )
        for half, kind in enumerate(kinds)
    ]


LLAMA4 = Family(
    "llama4",
    ("Llama4ForConditionalGeneration", "Llama4ForCausalLM"),
    targets,
    describe,
    vocabulary=vocabulary,
)
