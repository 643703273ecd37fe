"""What the config.json of most decoders says, from a GGUF's keys: sizes, heads, RoPE, tied output, special tokens.

RoPE is spelled as before transformers 5 (`rope_theta`, `rope_scaling`), which both read.
"""

from typing import Any

import numpy as np

from conversion.naming.base import NamingError
from conversion.naming.llama import frequency_factors
from conversion.naming.restoring.held import Held, shortest

SPECIAL = {
    "bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id", "unk": "unknown_token_id",
    "sep": "seperator_token_id", "mask": "mask_token_id", "eot": "eot_token_id", "eom": "eom_token_id",
}  # fmt: skip
"""Kind of a special token -> its key after `tokenizer.ggml.`, with GGUF's own spelling."""

IN_CONFIG = ("bos", "eos", "pad", "unk")
FACTORS = "rope_freqs.weight"
BANDS = ((1.0, 4.0), (1.0, 1.0))
"""low_freq_factor and high_freq_factor of every published Llama 3 and 4."""

OLD_CONTEXTS = tuple(1 << power for power in range(4, 21))
YARN = {
    "yarn_ext_factor": "extrapolation_factor", "yarn_attn_factor": "attention_factor",
    "attn_factor": "attention_factor",
    "yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow",
}  # fmt: skip


def decoder_config(held: Held, architecture: str, model_type: str, **more: Any) -> dict[str, Any]:
    """The settings that most decoders share, and `more`; what is None is left out."""
    n_heads = held.count("attention.head_count")
    settings: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_size": held.count("embedding_length"),
        "intermediate_size": held.count("feed_forward_length"),
        "num_hidden_layers": held.count("block_count"),
        "num_attention_heads": n_heads,
        "num_key_value_heads": held.count("attention.head_count_kv", n_heads),
        "head_dim": held.own("attention.key_length"),
        "max_position_embeddings": held.count("context_length"),
        "rms_norm_eps": _epsilon(held),
        "vocab_size": vocab_size(held),
        "tie_word_embeddings": not held.has("output.weight"),
    }
    settings |= rope(held) | more | special_ids(held)
    return {key: value for key, value in settings.items() if value is not None}


def _epsilon(held: Held) -> float | None:
    """Of RMS norms; None for a family that has none."""
    key = "attention.layer_norm_rms_epsilon"
    return None if held.own(key) is None else held.number(key, 0.0)


def vocab_size(held: Held) -> int:
    """The rows of the embedding; NamingError `tensor-not-restored` without one."""
    shape = held.shapes.get("token_embd.weight", ())
    if len(shape) != 2:
        raise NamingError("tensor-not-restored", "there is no token_embd.weight; GGUF's names are kept.")
    return shape[0]


def special_ids(held: Held) -> dict[str, int]:
    """`bos_token_id` and its like."""
    found = {kind: held.metadata.get(f"tokenizer.ggml.{SPECIAL[kind]}") for kind in IN_CONFIG}
    return {f"{kind}_token_id": number for kind, number in found.items() if type(number) is int}


def rope(held: Held) -> dict[str, Any]:
    """`rope_theta`, and `rope_scaling` where it is stretched."""
    theta = held.number("rope.freq_base", 10000.0)
    scaling: dict[str, Any] | None = None
    kind = held.own("rope.scaling.type", "none")
    if held.has(FACTORS):
        scaling = _llama3(held, theta)
    elif kind == "linear":
        scaling = {"rope_type": "linear", "factor": held.number("rope.scaling.factor", 1.0)}
    elif kind == "yarn":
        scaling = {
            "rope_type": "yarn",
            "factor": held.number("rope.scaling.factor", 1.0),
            "original_max_position_embeddings": held.count("rope.scaling.original_context_length"),
        } | {
            name: held.number(f"rope.scaling.{key}", 0.0)
            for key, name in YARN.items()
            if held.own(f"rope.scaling.{key}") is not None
        }
    return {"rope_theta": theta, "rope_scaling": scaling}


def _llama3(held: Held, theta: float) -> dict[str, Any]:
    """The settings whose frequency factors are the stored ones, bit for bit: GGUF has the factors alone."""
    stored = held.vector(FACTORS)
    heads = {"head_dim": 2 * len(stored), "hidden_size": 2 * len(stored), "num_attention_heads": 1}
    for low, high in BANDS:
        for old_context in OLD_CONTEXTS:
            scaling = {
                "rope_type": "llama3",
                "factor": shortest(float(stored.max())),
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": old_context,
            }
            with np.errstate(all="ignore"):  # the base is whatever the file says
                made = frequency_factors({**heads, "rope_parameters": {**scaling, "rope_theta": theta}})
            if made is not None and np.array_equal(made, stored):
                return scaling
    raise NamingError(
        "config-not-restored",
        f"{FACTORS} holds factors that no Llama 3 we know of has, and config.json states what they are made from; "
        "GGUF's names are kept.",
    )
