"""Configs that say little: we take for granted what the reference converter does, which reads them by transformers."""

import json
from pathlib import Path
from typing import Any

import pytest

from conversion.naming import NamingError, family_for, supported
from conversion.naming.collecting import collected, new_collector
from conversion.naming.defaults import SIZES, head_dimension, with_defaults, with_rope_theta
from conversion.naming.vocabulary import describe_vocabulary
from tests.conversion.naming.models import config
from tests.fixtures.architectures.fixture import FOLDER, write_tokenizer

TERSE: dict[str, dict[str, Any]] = json.loads((FOLDER / "terse.json").read_text())


@pytest.mark.parametrize("name", TERSE)
def test_a_terse_config_is_described_as_the_reference_describes_it(name: str) -> None:
    settings, expected = TERSE[name]["config"], TERSE[name]["metadata"]
    family = family_for(settings)
    writer = new_collector(family.gguf_architecture)
    family.describe(settings, 0, writer)
    found = collected(writer)
    ours = {key: value for key, value in found.items() if key.startswith(f"{family.gguf_architecture}.")}
    assert list(ours) == list(expected)
    for key, (kind, value) in expected.items():
        assert ours[key].type.name == kind, key
        assert ours[key].value == (pytest.approx(value, rel=1e-7) if kind == "FLOAT32" else value), key


def test_null_key_value_heads_are_as_many_as_heads_whatever_the_default() -> None:
    assert with_defaults(config(num_key_value_heads=None), num_key_value_heads=8)["num_key_value_heads"] == 4
    absent = {key: value for key, value in config().items() if key != "num_key_value_heads"}
    assert with_defaults(absent, num_key_value_heads=8)["num_key_value_heads"] == 8
    assert with_defaults(absent)["num_key_value_heads"] == 4


def test_what_text_config_says_counts_over_what_stands_around_it() -> None:
    outer = {"text_config": config(rms_norm_eps=1e-4), "rms_norm_eps": 1.0, "hidden_size": 1}
    found = with_defaults(outer, rms_norm_eps=1e-6)
    assert (found["rms_norm_eps"], found["hidden_size"]) == (1e-4, 64)


@pytest.mark.parametrize("key", SIZES)
def test_sizes_are_never_taken_for_granted(key: str) -> None:
    with pytest.raises(NamingError, match=f"{key} must be a positive whole number") as refused:
        with_defaults(config(**{key: None}))
    assert refused.value.code == "bad-config"


@pytest.mark.parametrize(
    "stated",
    [{"rope_theta": 7.0}, {"rope_parameters": {"rope_theta": 7.0}}, {"rope_scaling": {"rope_theta": 7.0}}],
)
def test_a_stated_base_of_rope_is_kept_in_any_spelling(stated: dict[str, Any]) -> None:
    assert "rope_theta" not in with_rope_theta(stated, 5.0) or stated.get("rope_theta") == 7.0
    assert with_rope_theta({}, 5.0) == {"rope_theta": 5.0}


def test_heads_divide_the_hidden_size_unless_the_config_says_otherwise() -> None:
    assert head_dimension(config()) == 16
    assert head_dimension(config(head_dim=24)) == 24


def test_more_layers_than_llama_cpp_runs_are_refused_before_names_are_made_for_them() -> None:
    settings = config(num_hidden_layers=2**31 - 1, n_layer=2**31 - 1)
    for architecture in supported():
        with pytest.raises(
            NamingError, match=f"speaks of {2**31 - 1} layers; llama.cpp runs at most 512"
        ) as refused:
            family_for(settings | {"architectures": [architecture]}).targets(settings, {})
        assert refused.value.code == "bad-config"


def test_more_tokens_than_any_vocabulary_has_are_refused_before_they_are_made(tmp_path: Path) -> None:
    write_tokenizer("sentencepiece", tmp_path)
    with pytest.raises(NamingError, match="vocab_size is 2147483647; at most 1048576") as refused:
        describe_vocabulary(config(vocab_size=2**31 - 1), tmp_path, new_collector("llama"))
    assert refused.value.code == "bad-config"
