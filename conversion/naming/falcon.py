"""Falcon: FalconForCausalLM and RWForCausalLM, as the first ones were called; 7B and 40B alike.

Queries, keys and values are one matrix of groups: the queries that share a key and a value, then that key, then that
value. 7B has one group, 40B has several. ggml wants all queries, then all keys, then all values. (llama.cpp:
conversion/falcon.py)
"""

from typing import Any

import gguf

from conversion.naming.base import Config, Family, NamingError, Shapes, Target, read_count, read_number
from conversion.naming.hyperparameters import N_LAYERS, find_count
from conversion.naming.reading import Run, of_runs
from conversion.naming.renaming import check_parts, check_shape, renamer

CONTEXT = 2048
"""Not in Falcon's config; what the reference writes for all of them."""


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Every tensor in its order. NamingError `unsupported-layout` for what ggml's Falcon cannot compute."""
    _check_layout(config)
    rename = renamer(gguf.MODEL_ARCH.FALCON, find_count(config, *N_LAYERS))
    return [
        _qkv(config, rename(name), name, shape)
        if name.endswith("query_key_value.weight")
        else Target(rename(name), shape, name)
        for name, shape in shapes.items()
    ]


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The `falcon.*` keys, in the reference converter's order."""
    hidden = read_count(config, "hidden_size")
    writer.add_context_length(CONTEXT)
    writer.add_tensor_data_layout("jploski")
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(4 * hidden)
    writer.add_block_count(find_count(config, *N_LAYERS))
    writer.add_head_count(n_queries(config))
    writer.add_head_count_kv(n_groups(config))
    writer.add_layer_norm_eps(read_number(config, "layer_norm_epsilon", 1e-5))
    writer.add_file_type(file_type)


def n_queries(config: Config) -> int:
    return find_count(config, "num_attention_heads", "n_head")


def n_groups(config: Config) -> int:
    """Keys and values of a layer: one for all queries (7B), or as many as the config of a 40B says."""
    if config.get("n_head_kv") is not None:
        return read_count(config, "n_head_kv")
    if config.get("new_decoder_architecture") or config.get("multi_query") is False:
        return read_count(config, "num_kv_heads", n_queries(config))
    return 1


def _qkv(config: Config, renamed: str, name: str, shape: tuple[int, ...]) -> Target:
    hidden, n_heads, groups = read_count(config, "hidden_size"), n_queries(config), n_groups(config)
    size, per_group = hidden // n_heads, n_heads // groups
    check_shape(name, shape, (groups * (per_group + 2) * size, hidden))
    check_parts("groups of heads", groups)
    starts = [group * (per_group + 2) * size for group in range(groups)]
    queries = [Run(name, start, per_group * size) for start in starts]
    keys = [Run(name, start + per_group * size, size) for start in starts]
    values = [Run(name, start + (per_group + 1) * size, size) for start in starts]
    return Target(renamed, shape, name, read=of_runs([*queries, *keys, *values]))


def _check_layout(config: Config) -> None:
    refused: dict[str, Any] = {"alibi": True, "parallel_attn": False, "bias": True}
    for key, value in refused.items():
        if config.get(key) is value:
            raise NamingError(
                "unsupported-layout",
                f"config.json: a Falcon with {key} {value} (Falcon-RW) is not computed by llama.cpp. Supported: RoPE, "
                "parallel attention, no biases.",
            )
    if n_queries(config) % n_groups(config):
        raise NamingError(
            "bad-config", f"{n_queries(config)} heads do not divide into {n_groups(config)} groups."
        )


FALCON = Family("falcon", ("FalconForCausalLM", "RWForCausalLM"), targets, describe)
