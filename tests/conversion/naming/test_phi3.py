"""Phi-3: frequency factors as tensors, and added tokens from three files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.naming import NamingError
from conversion.naming.collecting import collected, new_collector
from conversion.naming.phi3 import targets, vocabulary
from conversion.naming.vocabulary.sentencepiece import CONTROL, USER_DEFINED
from tests.fixtures.architectures.fixture import TOKENIZERS, write_tokenizer

LONG: dict[str, Any] = {"rope_type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 4]}
CONFIG: dict[str, Any] = {
    "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 4, "vocab_size": 358, "rope_parameters": LONG,
}  # fmt: skip


def test_both_sets_of_factors_become_tensors() -> None:
    long, short = targets(CONFIG, {})
    assert (long.name, short.name) == ("rope_factors_long.weight", "rope_factors_short.weight")
    np.testing.assert_array_equal(long.values, np.array([2, 4], dtype=np.float32))
    np.testing.assert_array_equal(short.values, np.array([1, 1.5], dtype=np.float32))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"rope_type": "linear"}, "unsupported-rope"),
        ({"short_factor": [1.0]}, "bad-config"),
        ({"short_factor": None}, "bad-config"),
        ({"long_factor": [1.0, "2"]}, "bad-config"),
        ({"long_factor": "12"}, "bad-config"),
    ],
)
def test_factors_that_do_not_fit_are_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(NamingError) as refused:
        targets(CONFIG | {"rope_parameters": LONG | changes}, {})
    assert refused.value.code == code


def test_added_tokens_are_as_the_last_file_says(tmp_path: Path) -> None:
    write_tokenizer("sentencepiece-phi3", tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"<first>": 356, "<far>": 9999}')
    path = tmp_path / "tokenizer.json"
    described = json.loads(path.read_text())
    described["added_tokens"] += [{"id": 353, "content": "<|changed|>", "special": False}]
    path.write_text(json.dumps(described))
    writer = new_collector("phi3")
    vocabulary(CONFIG, tmp_path, writer)
    found = collected(writer)
    tokens, types = found["tokenizer.ggml.tokens"].value, found["tokenizer.ggml.token_type"].value
    assert tokens[352:358] == ["<|endoftext|>", "<|changed|>", "<|code|>", "<|user|>", "<first>", "[PAD357]"]
    assert types[352:357] == [CONTROL, USER_DEFINED, USER_DEFINED, CONTROL, USER_DEFINED]


def test_added_tokens_that_are_no_tokens_are_refused(tmp_path: Path) -> None:
    write_tokenizer("sentencepiece-phi3", tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"added_tokens": [3]}')
    with pytest.raises(NamingError) as refused:
        vocabulary(CONFIG, tmp_path, new_collector("phi3"))
    assert refused.value.code == "bad-tokenizer"


def test_the_byte_level_tokenizer_of_phi_4_is_told_by_its_class(tmp_path: Path) -> None:
    write_tokenizer("phi-4", tmp_path)
    (tmp_path / "tokenizer.model").write_bytes((TOKENIZERS / "sentencepiece/tokenizer.model").read_bytes())
    writer = new_collector("phi3")
    vocabulary(CONFIG, tmp_path, writer)
    assert collected(writer)["tokenizer.ggml.model"].value == "gpt2"
