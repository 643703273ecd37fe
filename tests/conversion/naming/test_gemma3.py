"""Gemma 3: the language model is taken out of a model that sees, with as many rows as there are tokens."""

from pathlib import Path
from typing import Any

import pytest

from conversion.naming import NamingError
from conversion.naming.collecting import new_collector
from conversion.naming.gemma3 import describe, settings, targets, vocabulary

CONFIG: dict[str, Any] = {"num_hidden_layers": 1, "vocab_size": 10}


def test_what_sees_is_left_out_whatever_the_names_start_with() -> None:
    shapes = {
        "model.language_model.norm.weight": (8,),
        "model.vision_tower.vision_model.embeddings.patch_embedding.weight": (8, 3, 2, 2),
        "model.multi_modal_projector.mm_input_projection_weight": (8, 8),
        "language_model.lm_head.weight": (10, 8),
    }
    found = targets({"text_config": CONFIG}, shapes)
    assert [(target.name, target.origin) for target in found] == [
        ("output_norm.weight", "model.language_model.norm.weight")
    ]


def test_rows_beyond_the_vocabulary_are_cut_off() -> None:
    [cut] = targets(CONFIG, {"model.embed_tokens.weight": (64, 8)})
    assert cut.shape == (10, 8)
    [whole] = targets(CONFIG, {"model.embed_tokens.weight": (10, 8)})
    assert whole.shape == (10, 8)
    assert whole.read is None


def test_a_published_single_rope_is_split_in_two() -> None:
    found = settings(CONFIG | {"rope_theta": 5e5, "rope_local_base_freq": 7e3})["rope_parameters"]
    assert found["full_attention"]["rope_theta"] == 5e5
    assert found["sliding_attention"] == {"rope_theta": 7e3}


def test_a_soft_cap_on_attention_is_refused() -> None:
    with pytest.raises(NamingError, match="attn_logit_softcapping") as refused:
        describe(CONFIG | {"attn_logit_softcapping": 50.0}, 0, new_collector("gemma3"))
    assert refused.value.code == "bad-config"


def test_without_a_sentencepiece_model_the_way_out_is_said(tmp_path: Path) -> None:
    with pytest.raises(NamingError, match=r"tokenizer\.model") as refused:
        vocabulary(CONFIG, tmp_path, new_collector("gemma3"))
    assert refused.value.code == "no-tokenizer"


def test_an_embedding_that_is_no_matrix_is_left_to_the_reader_of_shapes() -> None:
    [target] = targets(CONFIG, {"model.embed_tokens.weight": (64,)})
    assert target.shape == (64,)
