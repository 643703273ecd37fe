"""GPT-2 and GPT-NeoX: masks and buffers are left out, matrices must be what config.json says."""

import pytest

from conversion.naming import NamingError, gpt2, gpt_neox
from conversion.naming.collecting import collected, new_collector

NEOX = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 32}
QKV = "gpt_neox.layers.0.attention.query_key_value"


def test_only_conv1d_is_transposed_and_masks_are_left_out() -> None:
    shapes = {
        "h.0.attn.bias": (1, 1, 16, 16),
        "h.0.attn.masked_bias": (),
        "h.0.attn.c_attn.weight": (8, 24),
        "h.0.attn.c_attn.bias": (24,),
        "wpe.weight": (16, 8),
    }
    assert [(target.name, target.shape) for target in gpt2.targets({"n_layer": 1}, shapes)] == [
        ("blk.0.attn_qkv.weight", (24, 8)),
        ("blk.0.attn_qkv.bias", (24,)),
        ("position_embd.weight", (16, 8)),
    ]


def test_a_conv1d_that_is_no_matrix_is_refused() -> None:
    with pytest.raises(NamingError, match="two dimensions") as refused:
        gpt2.targets({"n_layer": 1}, {"transformer.h.0.mlp.c_fc.weight": (8, 4, 8)})
    assert refused.value.code == "bad-shape"


@pytest.mark.parametrize(("name", "shape"), [("weight", (25, 8)), ("weight", (24, 9)), ("bias", (25,))])
def test_fused_queries_of_another_size_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(NamingError) as refused:
        gpt_neox.targets(NEOX, {f"{QKV}.{name}": shape})
    assert refused.value.code == "bad-shape"


@pytest.mark.parametrize(
    ("said", "rotated"),
    [({}, 1), ({"rotary_pct": 1.0}, 4), ({"rope_parameters": {"partial_rotary_factor": 0.5}}, 2)],
)
def test_the_rotated_share_of_a_head_is_read_in_any_spelling(said: dict[str, object], rotated: int) -> None:
    writer = new_collector("gptneox")
    gpt_neox.describe(NEOX | said, 0, writer)
    assert collected(writer)["gptneox.rope.dimension_count"].value == rotated
