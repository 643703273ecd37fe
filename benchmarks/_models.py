"""Models made on the fly for benchmarks: a Llama of the asked size, weights of noise, in GGUF or safetensors."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from conversion.formats.gguf import Value, float32, string, uint32
from conversion.formats.gguf import plan_file as plan_gguf_file
from conversion.formats.layout import FileLayout, stream_file
from conversion.formats.safetensors import plan_file as plan_safetensors_file

HIDDEN, FFN, HEADS, KV_HEADS, VOCABULARY = 1024, 4096, 16, 4, 64_000
NOISE_ELEMENTS = 1 << 22
ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "deploy/samples/tinyfamily/base-f32/tokenizer.model"


def shapes(n_layers: int, vocabulary: int = VOCABULARY) -> dict[str, tuple[int, ...]]:
    """GGUF name -> row-major shape; 24 layers are 0.5 billion parameters."""
    keys = HIDDEN // HEADS * KV_HEADS
    found: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, HIDDEN), "output.weight": (vocabulary, HIDDEN),
        "output_norm.weight": (HIDDEN,),
    }  # fmt: skip
    layer: dict[str, tuple[int, ...]] = {
        "attn_q": (HIDDEN, HIDDEN), "attn_k": (keys, HIDDEN), "attn_v": (keys, HIDDEN),
        "attn_output": (HIDDEN, HIDDEN), "ffn_gate": (FFN, HIDDEN), "ffn_up": (FFN, HIDDEN),
        "ffn_down": (HIDDEN, FFN), "attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,),
    }  # fmt: skip
    for number in range(n_layers):
        found |= {f"blk.{number}.{name}.weight": shape for name, shape in layer.items()}
    return found


def write_gguf(path: Path, n_layers: int, vocabulary: int = VOCABULARY) -> None:
    """A BF16 GGUF that llama-quantize takes."""
    metadata: dict[str, Value] = {
        "general.architecture": string("llama"), "general.file_type": uint32(32),
        "llama.block_count": uint32(n_layers), "llama.context_length": uint32(2048),
        "llama.embedding_length": uint32(HIDDEN), "llama.feed_forward_length": uint32(FFN),
        "llama.attention.head_count": uint32(HEADS), "llama.attention.head_count_kv": uint32(KV_HEADS),
        "llama.attention.layer_norm_rms_epsilon": float32(1e-5), "llama.vocab_size": uint32(vocabulary),
        "llama.rope.dimension_count": uint32(HIDDEN // HEADS),
    }  # fmt: skip
    tensors = [
        (name, shape, "F32" if len(shape) == 1 else "BF16")
        for name, shape in shapes(n_layers, vocabulary).items()
    ]
    _write(path, plan_gguf_file(metadata, tensors))


def write_checkpoint(folder: Path, n_layers: int, dtype: str = "BF16", vocabulary: int = VOCABULARY) -> None:
    """The same model in Hugging Face's layout, all of one dtype; the tokenizer's vocabulary is padded."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        "token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm",
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    }  # fmt: skip
    tensors = []
    for name, shape in shapes(n_layers, vocabulary).items():
        parts = name.split(".")
        prefix = f"model.layers.{parts[1]}." if parts[0] == "blk" else ""
        tensors.append((f"{prefix}{names[parts[-2]]}.weight", shape, dtype))
    _write(folder / "model.safetensors", plan_safetensors_file(tensors, {"format": "pt"}))
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": FFN, "num_hidden_layers": n_layers, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "rms_norm_eps": 1e-5, "max_position_embeddings": 2048,
        "vocab_size": vocabulary, "rope_theta": 10000.0, "torch_dtype": "bfloat16",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(TOKENIZER.read_bytes())
    (folder / "tokenizer_config.json").write_text("{}")


def _write(path: Path, layout: FileLayout) -> None:
    noise = np.random.default_rng(1).normal(0, 0.02, NOISE_ELEMENTS).astype(np.float32)
    encoded = {
        "F32": noise.tobytes(), "BF16": (noise.view(np.uint32) >> 16).astype("<u2").tobytes(),
        "F16": noise.astype("<f2").tobytes(),
    }  # fmt: skip

    def pieces(data: bytes, length: int, seed: int) -> Iterator[bytes]:
        """The noise over and over, each tensor from another place on."""
        start = seed * 4096 % (len(data) // 2)
        while length > 0:
            piece = data[start : start + length]
            length, start = length - len(piece), 0
            yield piece

    with path.open("wb") as file:
        tensors = (
            (entry.name, pieces(encoded[entry.dtype], entry.length, number))
            for number, entry in enumerate(layout.entries)
        )
        for piece in stream_file(layout, tensors):
            file.write(piece)
