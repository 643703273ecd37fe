"""Llama: names, the order of rows in q and k, and what the config becomes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion.formats.gguf import read_header, read_value
from conversion.formats.source import BytesSource
from conversion.naming import NamingError, UnsupportedArchitecture, family_for
from conversion.naming.collecting import collected, new_collector
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.llama import LLAMA, frequency_factors, interleave_halves
from conversion.naming.plan import plan_gguf
from conversion.naming.slabs import file_pieces
from tests import naive
from tests.conversion.naming.models import config, open_folder, shapes, write_checkpoint


def metadata(settings: dict[str, Any]) -> dict[str, Any]:
    writer = new_collector("llama")
    LLAMA.describe(settings, 0, writer)
    return {key: value.value for key, value in collected(writer).items()}


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """What an F32 GGUF of the folder holds, read back."""
    checkpoint = open_folder(folder)
    plan = plan_gguf(checkpoint.entries, folder, FILE_TYPES["F32"])
    data = b"".join(piece.data for piece in file_pieces(plan, checkpoint))
    return {
        entry.name: np.frombuffer(data, "<f4", entry.n_elements, entry.start).reshape(entry.shape)
        for entry in plan.layout.entries
    }


def test_every_tensor_has_its_place(tmp_path: Path) -> None:
    values = write_checkpoint(tmp_path / "m", config())
    made = tensors(tmp_path / "m")
    assert (made["token_embd.weight"] == values["model.embed_tokens.weight"]).all()
    assert (made["output.weight"] == values["lm_head.weight"]).all()
    assert (made["blk.1.ffn_down.weight"] == values["model.layers.1.mlp.down_proj.weight"]).all()
    assert (made["blk.0.attn_norm.weight"] == values["model.layers.0.input_layernorm.weight"]).all()
    assert len(made) == len(values)


@pytest.mark.parametrize(("ours", "theirs"), [("attn_q", "q_proj"), ("attn_k", "k_proj")])
def test_rows_of_q_and_k_are_interleaved_and_of_v_are_not(tmp_path: Path, ours: str, theirs: str) -> None:
    values = write_checkpoint(tmp_path / "m", config())
    made = tensors(tmp_path / "m")
    expected = naive.interleaved(values[f"model.layers.0.self_attn.{theirs}.weight"], 16)
    assert (made[f"blk.0.{ours}.weight"] == expected).all()
    assert (made["blk.0.attn_v.weight"] == values["model.layers.0.self_attn.v_proj.weight"]).all()


@given(heads=st.integers(1, 5), half=st.integers(1, 8), cols=st.integers(1, 4))
def test_interleaving_equals_its_naive_twin(heads: int, half: int, cols: int) -> None:
    rows = np.arange(heads * 2 * half * cols, dtype=np.float32).reshape(-1, cols)
    assert (interleave_halves(rows, 2 * half) == naive.interleaved(rows, 2 * half)).all()


def test_biases_of_q_are_interleaved_like_its_rows() -> None:
    settings = config(attention_bias=True)
    (target,) = LLAMA.targets(settings, {"model.layers.0.self_attn.q_proj.bias": (64,)})
    row = np.arange(64, dtype=np.float32)
    assert target.name == "blk.0.attn_q.bias"
    assert target.arrange is not None
    assert (target.arrange(row[None])[0] == naive.interleaved(row[:, None], 16)[:, 0]).all()


def test_tied_embeddings_have_no_output(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "m", config(tie_word_embeddings=True))
    assert "output.weight" not in tensors(tmp_path / "m")


def test_buffers_of_old_checkpoints_are_left_out() -> None:
    found = LLAMA.targets(
        config(), {"model.layers.0.self_attn.rotary_emb.inv_freq": (8,), "model.norm.weight": (64,)}
    )
    assert [target.name for target in found] == ["output_norm.weight"]


def test_a_tensor_without_a_place_is_named() -> None:
    with pytest.raises(
        NamingError, match=r"'model\.layers\.9\.mlp\.up_proj\.weight' has no place in a llama of 2"
    ) as no:
        LLAMA.targets(config(), {"model.layers.9.mlp.up_proj.weight": (96, 64)})
    assert no.value.code == "unknown-tensor"


def test_head_dim_may_differ_from_hidden_size_over_heads() -> None:
    assert metadata(config(head_dim=32))["llama.attention.key_length"] == 32
    assert metadata(config())["llama.attention.key_length"] == 16


@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 4.0}},
    ],
)
def test_scaled_rope_is_understood_in_both_spellings(spelling: dict[str, Any]) -> None:
    found = metadata({key: value for key, value in config().items() if key != "rope_theta"} | spelling)
    assert found["llama.rope.freq_base"] == 5e5
    assert found["llama.rope.scaling.type"] == "linear"
    assert found["llama.rope.scaling.factor"] == 4.0


def test_an_unknown_rope_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        NamingError, match=r"'longrope' cannot be converted yet. Supported: default"
    ) as refused:
        metadata(config(rope_scaling={"type": "longrope"}))
    assert refused.value.code == "unsupported-rope"


# base, head_dim, factor, low, high, original context -> sha256 of the float32 factors that the reference computes
# (torch 2.13.0 on x86-64, with the steps of llama.cpp's conversion/llama.py).
FACTORS = {
    (500000.0, 64, 32.0, 1.0, 4.0, 8192): "d25a6d176d9313062b8f86440c88649f9e568d573ea66bfa4e85e2424cf35633",
    (500000.0, 128, 8.0, 1.0, 4.0, 8192): "8b516af9cb5db26ed32831eb6f493dd620843d1cd69ca7bbad760c76061cd565",
    (500000.0, 128, 32.0, 1.0, 4.0, 8192): "af00a6286e9cba87733f6e5dd6b09a2bffd7326e6ac33d346f83f7c2f4857828",
    (10000.0, 96, 4.0, 1.0, 2.0, 2048): "0575fe901b623708e33517635f95877be720485aa6e8e6e114d8d5f758d33aa4",
    (1000000.0, 80, 16.0, 1.5, 4.0, 4096): "0d8d6060cbab2a886e1359a4a5fbbc50cdbcb6f77ba51a566d305039e2c455ac",
    (500000.0, 128, 16.0, 1.0, 4.0, 8192): "b26bd8ddf61f3c4f41de27b3178d47d3255ac7cae02924ef610802dbed44602a",
}


@pytest.mark.parametrize("case", FACTORS)
def test_llama_3_frequency_factors_equal_the_reference(
    case: tuple[float, int, float, float, float, int],
) -> None:
    base, head_dim, factor, low, high, context = case
    rope = {
        "rope_theta": base, "rope_type": "llama3", "factor": factor, "low_freq_factor": low,
        "high_freq_factor": high, "original_max_position_embeddings": context,
    }  # fmt: skip
    found = frequency_factors(config(head_dim=head_dim, rope_parameters=rope))
    assert found is not None
    assert hashlib.sha256(found.tobytes()).hexdigest() == FACTORS[case]


def test_one_factor_for_low_and_high_blends_nothing() -> None:
    """Llama 4 Scout."""
    rope = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    found = frequency_factors(config(head_dim=128, rope_parameters=rope))
    assert found is not None
    assert sorted(set(found.tolist())) == [1.0, 16.0]


def test_llama_3_factors_become_the_first_tensor(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}
    write_checkpoint(tmp_path / "m", config(rope_scaling=rope, rope_theta=5e5))
    made = tensors(tmp_path / "m")
    assert next(iter(made)) == "rope_freqs.weight"
    assert made["rope_freqs.weight"].shape == (8,)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"])
def test_the_family_serves_its_architectures(architecture: str) -> None:
    assert family_for(config(architectures=[architecture])) is LLAMA


@pytest.mark.parametrize("named", [["FooForCausalLM"], [], None, "text", [7]])
def test_an_unknown_architecture_is_refused_with_those_there_are(named: object) -> None:
    with pytest.raises(
        UnsupportedArchitecture, match=r"Supported: .*LlamaForCausalLM, MistralForCausalLM"
    ) as refused:
        family_for(config(architectures=named))
    assert refused.value.code == "unsupported-architecture"


@pytest.mark.parametrize("key", ["hidden_size", "num_attention_heads", "vocab_size", "num_hidden_layers"])
@pytest.mark.parametrize("bad", [0, -1, True, 2.5, "64", None, 2**40])
def test_counts_that_are_none_are_refused(key: str, bad: object) -> None:
    with pytest.raises(NamingError, match=f"{key} must be a positive whole number") as refused:
        metadata(config(**{key: bad}))
    assert refused.value.code == "bad-config"


def test_rows_that_heads_do_not_divide_are_refused() -> None:
    with pytest.raises(NamingError, match="does not divide into 4 heads") as refused:
        LLAMA.targets(config(), shapes(config()) | {"model.layers.0.self_attn.q_proj.weight": (60, 64)})
    assert refused.value.code == "bad-config"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised-checkpoint"),
        ({"architectures": ["MambaForCausalLM"]}, "unsupported-architecture"),
        ({"num_hidden_layers": 1}, "unknown-tensor"),
    ],
)
def test_a_checkpoint_that_cannot_be_converted_says_why(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    write_checkpoint(tmp_path / "m", config())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config(**changes)))
    with pytest.raises(NamingError) as refused:
        plan_gguf(open_folder(tmp_path / "m").entries, tmp_path / "m", FILE_TYPES["Q8_0"])
    assert refused.value.code == code


def test_the_card_and_generation_config_reach_the_metadata(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "Tiny-7B", config())
    card = "---\nlicense: apache-2.0\ntags: [tiny]\nbase_model: acme/parent-7b\n---\n# Tiny\n"
    (tmp_path / "Tiny-7B" / "README.md").write_text(card)
    (tmp_path / "Tiny-7B" / "generation_config.json").write_text('{"temperature": 0.5, "top_k": 40}')
    checkpoint = open_folder(tmp_path / "Tiny-7B")
    plan = plan_gguf(checkpoint.entries, tmp_path / "Tiny-7B", FILE_TYPES["F16"])
    padded = plan.layout.header_bytes + bytes(plan.layout.size_bytes - len(plan.layout.header_bytes))
    source = BytesSource(padded)
    found = {key: read_value(source, value).value for key, value in read_header(source).metadata.items()}
    assert found["general.license"] == "apache-2.0"
    assert found["general.tags"] == ["tiny"]
    assert found["general.base_model.0.repo_url"] == "https://huggingface.co/acme/parent-7b"
    assert found["general.sampling.temp"] == pytest.approx(0.5)
    assert found["general.file_type"] == gguf.LlamaFileType.MOSTLY_F16
