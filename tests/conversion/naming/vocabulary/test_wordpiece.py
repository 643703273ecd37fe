"""WordPiece: marks of llama.cpp instead of BERT's; other tokenizers are refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from conversion.naming import NamingError
from conversion.naming.collecting import collected, new_collector
from conversion.naming.vocabulary import wordpiece
from conversion.naming.vocabulary.special import LOWERCASE, STRIP_ACCENTS
from tests.fixtures.architectures.fixture import write_tokenizer

PANIC = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
"""Over this the tokenizers library does not raise an Exception: it panics."""

CONFIG = {"vocab_size": 342, "type_vocab_size": 2}


def described(folder: Path) -> dict[str, Any]:
    writer = new_collector("bert")
    wordpiece.describe(CONFIG, folder, writer)
    return {key: value.value for key, value in collected(writer).items()}


def test_beginnings_of_words_are_marked_instead_of_continuations(tmp_path: Path) -> None:
    write_tokenizer("wordpiece", tmp_path)
    own = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    found = described(tmp_path)
    tokens = found["tokenizer.ggml.tokens"]
    for text, number in own.items():
        if text.startswith("["):
            assert tokens[number] == text
        elif text.startswith("##"):
            assert tokens[number] == text[2:]
        else:
            assert tokens[number] == "\u2581" + text
    assert tokens[-1] == "\u2581[PAD341]"
    assert found["tokenizer.ggml.model"] == "bert"
    assert found["tokenizer.ggml.pre"] == "bert-bge"
    assert found["tokenizer.ggml.bos_token_id"] == own["[CLS]"]
    assert found["tokenizer.ggml.seperator_token_id"] == own["[SEP]"]


def test_a_cased_vocabulary_is_said_to_be_cased(tmp_path: Path) -> None:
    write_tokenizer("wordpiece", tmp_path)
    path = tmp_path / "tokenizer.json"
    changed = json.loads(path.read_text())
    changed["normalizer"] |= {"lowercase": False, "strip_accents": False}
    path.write_text(json.dumps(changed))
    found = described(tmp_path)
    assert found[LOWERCASE] is False
    assert found[STRIP_ACCENTS] is False


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": {"type": "BPE"}}, "unsupported-tokenizer"),
        ({"model": None}, "unsupported-tokenizer"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "unknown-pre-tokenizer"),
        ({"pre_tokenizer": None}, "unknown-pre-tokenizer"),
        ({"normalizer": PANIC}, "bad-tokenizer"),
        ({"model": {"type": "WordPiece", "vocab": {}, "unk_token": "[UNK]"}}, "bad-tokenizer"),
    ],
)
def test_another_tokenizer_is_refused_and_named(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    write_tokenizer("wordpiece", tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(NamingError) as refused:
        described(tmp_path)
    assert refused.value.code == code
