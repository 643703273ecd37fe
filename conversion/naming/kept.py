"""Which tensors a file type leaves alone: too small to matter, or too delicate to touch.

Two programs of llama.cpp (82bb48500) decide this, each for its own input: the reference converter (conversion/base.py:
prepare_tensors) keeps such tensors as F32; llama-quantize (llama-quant.cpp: tensor_allows_quantization) leaves them in
the type they have.
"""

ROUTER_AND_SMALL = (
    "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj", "ssm_conv1d",
    "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "attn_rel_b.weight",
    "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight",
    "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight",
    "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd",
    ".patch_merger", "a.rvq.codebook", "mm.a.code_embd",
)  # fmt: skip
"""Parts of names that llama-quantize leaves alone."""

EMBEDDINGS_OF_BERT = ("position_embd.weight", "token_types.weight")

ALWAYS_F32 = (
    "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight", "position_embd.weight", "token_types.weight",
    "ssm_conv1d.weight", "ssm_conv1d_q.weight", "ssm_conv1d_k.weight", "ssm_conv1d_v.weight", "shortconv.conv.weight",
    "time_mix_first.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "altup_correct_coef.weight", "altup_predict_coef.weight",
    "indexer.proj.weight",
)  # fmt: skip
"""Ends of names that the reference converter writes as F32 whatever it is asked for."""


def n_dimensions(shape: tuple[int, ...]) -> int:
    """Dimensions as ggml counts them: leading ones of the row-major shape do not, so (1, 4096) is a vector."""
    return next((len(shape) - at for at, size in enumerate(shape) if size > 1), 1)


def is_left_alone(name: str, shape: tuple[int, ...], *, leave_output: bool = False) -> bool:
    """Whether llama-quantize leaves the tensor in the type it has."""
    return (
        n_dimensions(shape) < 2
        or not name.endswith("weight")
        or "_norm.weight" in name
        or name in EMBEDDINGS_OF_BERT
        or (leave_output and name == "output.weight")
        or any(part in name for part in ROUTER_AND_SMALL)
    )


def is_always_f32(name: str, shape: tuple[int, ...]) -> bool:
    """Whether the reference converter writes the tensor as F32 whatever type it is asked for."""
    is_weight = name.endswith((".weight", ".lora_a", ".lora_b"))
    return (
        len(shape) < 2
        or name.endswith("_norm.weight")
        or not is_weight
        or any(name == end or name.endswith("." + end) for end in ALWAYS_F32)
    )
