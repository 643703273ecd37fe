"""GPT-NeoX and Pythia: GPTNeoXForCausalLM.

Queries, keys and values are one matrix in which every head has its query, its key and its value side by side; ggml
wants all queries, then all keys, then all values. Row (head, part, i) moves to (part, head, i). (llama.cpp:
conversion/gptneox.py)
"""

import gguf
import numpy as np

from conversion.naming.base import Config, Family, Rows, Shapes, Target, read_count, read_number
from conversion.naming.hyperparameters import full_attention, read_rope
from conversion.naming.reading import Run, of_runs
from conversion.naming.renaming import BUFFERS, check_parts, check_shape, renamer

QKV = ".attention.query_key_value."
PARTS = 3


def targets(config: Config, shapes: Shapes) -> list[Target]:
    """Every tensor but the buffers, in its order."""
    rename = renamer(gguf.MODEL_ARCH.GPTNEOX, read_count(config, "num_hidden_layers"))
    return [
        _qkv(config, rename(name), name, shape) if QKV in name else Target(rename(name), shape, name)
        for name, shape in shapes.items()
        if not name.endswith(BUFFERS)
    ]


def _qkv(config: Config, renamed: str, name: str, shape: tuple[int, ...]) -> Target:
    hidden, n_heads = read_count(config, "hidden_size"), read_count(config, "num_attention_heads")
    size = hidden // n_heads
    is_bias = name.endswith(".bias")
    check_shape(name, shape, (PARTS * n_heads * size,) if is_bias else (PARTS * n_heads * size, hidden))
    if is_bias:

        def reorder(row: Rows) -> Rows:
            heads = row.reshape(n_heads, PARTS, size)
            return np.ascontiguousarray(heads.swapaxes(0, 1)).reshape(row.shape)

        return Target(renamed, shape, name, arrange=reorder)
    check_parts("heads", n_heads)
    runs = [Run(name, (head * PARTS + part) * size, size) for part in range(PARTS) for head in range(n_heads)]
    return Target(renamed, shape, name, read=of_runs(runs))


def describe(config: Config, file_type: int, writer: gguf.GGUFWriter) -> None:
    """The `gptneox.*` keys, in the reference converter's order, which for this family leaves out general.file_type."""
    hidden, n_heads = read_count(config, "hidden_size"), read_count(config, "num_attention_heads")
    share = read_number(full_attention(read_rope(config)), "partial_rotary_factor", 0.25)
    writer.add_context_length(read_count(config, "max_position_embeddings", 2048))
    writer.add_embedding_length(hidden)
    writer.add_block_count(read_count(config, "num_hidden_layers"))
    writer.add_feed_forward_length(read_count(config, "intermediate_size"))
    writer.add_rope_dimension_count(int(share * (hidden // n_heads)))
    writer.add_head_count(n_heads)
    writer.add_parallel_residual(config.get("use_parallel_residual", True) is not False)
    writer.add_layer_norm_eps(read_number(config, "layer_norm_eps", 1e-5))


GPT_NEOX = Family("gptneox", ("GPTNeoXForCausalLM",), targets, describe)
