"""Small Llama checkpoints made on the fly, and the sample family's base."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conversion.formats.checkpoint import Checkpoint, open_checkpoint
from conversion.formats.layout import stream_file
from conversion.formats.safetensors import plan_file
from conversion.formats.source import FileSource
from conversion.quants import quantize

SAMPLES = Path(__file__).parents[3] / "deploy/samples/tinyfamily"
TOKENIZER = ("tokenizer.model", "tokenizer_config.json")


def config(**changes: Any) -> dict[str, Any]:
    """A Llama of two layers whose vocabulary is the sample family's."""
    plain = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128, "vocab_size": 1024, "rope_theta": 10000.0,
    }  # fmt: skip
    return plain | changes


def shapes(settings: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor a checkpoint of this config has."""
    hidden, ffn = settings["hidden_size"], settings["intermediate_size"]
    head_dim = settings.get("head_dim") or hidden // settings["num_attention_heads"]
    queries, keys = settings["num_attention_heads"] * head_dim, settings["num_key_value_heads"] * head_dim
    found = {"model.embed_tokens.weight": (settings["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    if not settings.get("tie_word_embeddings"):
        found["lm_head.weight"] = (settings["vocab_size"], hidden)
    layer = {
        "self_attn.q_proj": (queries, hidden), "self_attn.k_proj": (keys, hidden), "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries), "mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden),
        "mlp.down_proj": (hidden, ffn), "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
    }  # fmt: skip
    for number in range(settings["num_hidden_layers"]):
        found |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    return found


def write_checkpoint(
    folder: Path, settings: Mapping[str, Any], *, dtype: str = "F32", shards: int = 1, seed: int = 7
) -> dict[str, np.ndarray]:
    """The folder holds a whole checkpoint with random weights; returns them, as they are after rounding to dtype."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings))
    for name in TOKENIZER:
        (folder / name).write_bytes((SAMPLES / "base-f32" / name).read_bytes())
    chance = np.random.default_rng(seed)
    values = {n: chance.normal(0, 0.05, shape).astype(np.float32) for n, shape in shapes(settings).items()}
    data = {name: quantize(array.reshape(1, -1), dtype).tobytes() for name, array in values.items()}
    names = list(values)
    parts = [names[start::shards] for start in range(shards)]
    paths = [f"model-{n + 1:05}-of-{shards:05}.safetensors" for n in range(shards)] if shards > 1 else ["model.safetensors"]  # fmt: skip  # noqa: E501
    for path, part in zip(paths, parts, strict=True):
        layout = plan_file([(name, values[name].shape, dtype) for name in part], {"format": "pt"})
        pieces = [(name, [data[name]]) for name in part]
        (folder / path).write_bytes(b"".join(stream_file(layout, pieces)))
    if shards > 1:
        weight_map = {name: path for path, part in zip(paths, parts, strict=True) for name in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return values


def open_folder(folder: Path) -> Checkpoint:
    paths = [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]
    return open_checkpoint({path.name: FileSource(path) for path in sorted(paths)})
