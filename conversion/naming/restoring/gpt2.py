"""GPT-2, whose Conv1D keeps inputs as rows."""

from typing import Any

from conversion.naming.gpt2 import CONV1D
from conversion.naming.restoring.held import Held
from conversion.naming.restoring.settings import special_ids, vocab_size

NAMES = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    "blk.{}.attn_norm": "transformer.h.{}.ln_1",
    "blk.{}.attn_qkv": "transformer.h.{}.attn.c_attn",
    "blk.{}.attn_output": "transformer.h.{}.attn.c_proj",
    "blk.{}.ffn_norm": "transformer.h.{}.ln_2",
    "blk.{}.ffn_up": "transformer.h.{}.mlp.c_fc",
    "blk.{}.ffn_down": "transformer.h.{}.mlp.c_proj",
}


def config(held: Held) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_embd": held.count("embedding_length"),
        "n_layer": held.count("block_count"),
        "n_head": held.count("attention.head_count"),
        "n_positions": held.count("context_length"),
        "n_ctx": held.count("context_length"),
        "layer_norm_epsilon": held.number("attention.layer_norm_epsilon", 1e-5),
        "vocab_size": vocab_size(held),
        "tie_word_embeddings": not held.has("output.weight"),
    } | special_ids(held)


def shape(name: str, stored: tuple[int, ...]) -> tuple[int, ...]:
    """A Conv1D's weight is the transpose of what ggml multiplies with."""
    return stored[::-1] if name.endswith(CONV1D) else stored
