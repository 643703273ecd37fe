"""Rotary position embedding in a config, old spelling or new, and as GGUF keys.

transformers 5 writes `rope_parameters`; before, `rope_theta` stood alone and `rope_scaling` beside it, with `type`
where it is now `rope_type`.
"""

from typing import Any

import gguf

from conversion.naming.base import Config, NamingError, read_count, read_number

WITHOUT_KEYS = {"default", "llama3", "dynamic"}
"""Kinds of RoPE that no scaling key describes: plain, a tensor of factors, or computed at run time."""


def rope_parameters(config: Config) -> dict[str, Any]:
    """One dict in the new spelling; `rope_theta` and `rope_type` are always there."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(found, dict):
        raise NamingError("bad-config", "config.json: rope_parameters must be an object.")
    rope = dict(found)
    rope.setdefault("rope_theta", config.get("rope_theta") or 10000.0)
    rope.setdefault("rope_type", rope.get("type", "default"))
    original = config.get("original_max_position_embeddings")
    if original is not None:
        rope.setdefault("original_max_position_embeddings", original)
    return rope


def describe_rope(config: Config, writer: gguf.GGUFWriter) -> None:
    """`rope.scaling.*` where there is scaling, and `rope.freq_base`. NamingError `unsupported-rope` names the kind."""
    rope = rope_parameters(config)
    kind = str(rope["rope_type"]).lower()
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(read_number(rope, "factor", 1.0))
    elif kind == "yarn":
        _describe_yarn(rope, writer)
    elif kind not in WITHOUT_KEYS:
        raise NamingError(
            "unsupported-rope",
            f"RoPE of type {kind[:60]!r} cannot be converted yet. Supported: default, linear, yarn, llama3, dynamic.",
        )
    writer.add_rope_freq_base(read_number(rope, "rope_theta", 10000.0))


def _describe_yarn(rope: dict[str, Any], writer: gguf.GGUFWriter) -> None:
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(read_number(rope, "factor", 1.0))
    writer.add_rope_scaling_orig_ctx_len(read_count(rope, "original_max_position_embeddings"))
    attention = "attention_factor" if rope.get("attention_factor") is not None else "attn_factor"
    optional = {
        "extrapolation_factor": writer.add_rope_scaling_yarn_ext_factor,
        attention: writer.add_rope_scaling_yarn_attn_factor,
        "beta_fast": writer.add_rope_scaling_yarn_beta_fast,
        "beta_slow": writer.add_rope_scaling_yarn_beta_slow,
    }
    for key, write in optional.items():
        if rope.get(key) is not None:
            write(read_number(rope, key, 0.0))
