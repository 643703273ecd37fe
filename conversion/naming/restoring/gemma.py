"""Gemma 1, 2 and 3, the language model: norms without the 1 that ggml wants added, the output tied as always.

What attention divides queries by is not in a GGUF; llama.cpp knows it by the number of layers, and so do we.
"""

from typing import Any

from conversion.naming.base import NamingError
from conversion.naming.restoring import llama
from conversion.naming.restoring.held import Held
from conversion.naming.restoring.settings import decoder_config

GEMMA2_NAMES = llama.NAMES | {
    "blk.{}.post_attention_norm": "model.layers.{}.post_attention_layernorm",
    "blk.{}.ffn_norm": "model.layers.{}.pre_feedforward_layernorm",
    "blk.{}.post_ffw_norm": "model.layers.{}.post_feedforward_layernorm",
}
GEMMA3_NAMES = GEMMA2_NAMES | llama.NORMS_OF_HEADS
LAYERS_OF_27B = {"gemma2": 46, "gemma3": 62}
"""Only there the divisor is not that of a head's own size (llama.cpp: src/models/gemma2.cpp, gemma3.cpp)."""

LAYERS_PER_FULL = 6
ACTIVATION = {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}


def gemma(held: Held) -> dict[str, Any]:
    return _tied(decoder_config(held, "GemmaForCausalLM", "gemma", **ACTIVATION))


def gemma2(held: Held) -> dict[str, Any]:
    return _tied(
        decoder_config(
            held, "Gemma2ForCausalLM", "gemma2", **ACTIVATION, query_pre_attn_scalar=_scalar(held),
            attn_logit_softcapping=held.number("attn_logit_softcapping", 50.0),
            final_logit_softcapping=held.number("final_logit_softcapping", 30.0),
            sliding_window=held.count("attention.sliding_window", 4096),
        )
    )  # fmt: skip


def gemma3(held: Held) -> dict[str, Any]:
    """Gemma3ForCausalLM, whose layers take turns: five with the window, one without."""
    n_layers = held.count("block_count")
    kinds = [
        "full_attention" if (n + 1) % LAYERS_PER_FULL == 0 else "sliding_attention" for n in range(n_layers)
    ]
    cap = {"final_logit_softcapping": held.own("final_logit_softcapping")}
    return _tied(
        decoder_config(
            held, "Gemma3ForCausalLM", "gemma3_text", **ACTIVATION, query_pre_attn_scalar=_scalar(held),
            sliding_window=held.count("attention.sliding_window"), layer_types=kinds,
            sliding_window_pattern=LAYERS_PER_FULL,
            rope_local_base_freq=held.number("rope.freq_base_swa", 10000.0), **cap,
        )
    )  # fmt: skip


def _scalar(held: Held) -> int:
    if held.count("block_count") == LAYERS_OF_27B[held.architecture]:
        return held.count("embedding_length") // held.count("attention.head_count")
    return held.count("attention.key_length")


def _tied(config: dict[str, Any]) -> dict[str, Any]:
    if not config["tie_word_embeddings"]:
        raise NamingError(
            "tensor-not-restored", "a Gemma with an output.weight of its own is none; GGUF's names are kept."
        )
    return config
