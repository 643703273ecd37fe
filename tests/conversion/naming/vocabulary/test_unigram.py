"""Unigram: both files say the same, and a file that is something else is refused."""

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conversion.naming import NamingError
from conversion.naming.vocabulary import unigram
from conversion.naming.vocabulary.sentencepiece import CONTROL, UNKNOWN
from tests.fixtures.architectures.fixture import TOKENIZERS, write_tokenizer


def test_both_files_give_the_same_ids_and_replacements(tmp_path: Path) -> None:
    write_tokenizer("unigram", tmp_path)
    model, tokenizer = (
        unigram.read_sentencepiece(tmp_path, 311),
        unigram.read_tokenizer(tmp_path, 311),
    )
    assert [token.text for token in model.tokens[:310]] == [token.text for token in tokenizer.tokens[:310]]
    assert [token.type for token in model.tokens[:5]] == [CONTROL, CONTROL, CONTROL, UNKNOWN, 1]
    assert [token.type for token in tokenizer.tokens[:5]] == [CONTROL, CONTROL, CONTROL, UNKNOWN, 1]
    assert model.charsmap == tokenizer.charsmap
    assert len(model.charsmap) > 1000
    assert model.adds_prefix
    assert tokenizer.adds_prefix


def test_a_sequence_of_normalizers_is_searched_for_the_table() -> None:
    table = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"\x01\x02").decode()}
    assert unigram._charsmap({"type": "Sequence", "normalizers": [{"type": "NFC"}, table]}) == b"\x01\x02"
    assert unigram._charsmap({"type": "Sequence", "normalizers": None}) == b""
    assert unigram._charsmap(None) == b""


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": {"type": "WordPiece"}}, "unsupported-tokenizer"),
        ({"model": 3}, "unsupported-tokenizer"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "*"}}, "bad-tokenizer"),
    ],
)
def test_another_tokenizer_is_refused(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    described = json.loads((TOKENIZERS / "unigram-json/tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(described | changes))
    with pytest.raises(NamingError) as refused:
        unigram.read_tokenizer(tmp_path, 320)
    assert refused.value.code == code


def test_a_sentencepiece_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    model = (TOKENIZERS / "sentencepiece/tokenizer.model").read_bytes()
    (tmp_path / unigram.FILE_NAME).write_bytes(model)
    with pytest.raises(NamingError, match="not a Unigram model") as refused:
        unigram.read_sentencepiece(tmp_path, 352)
    assert refused.value.code == "bad-tokenizer"


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    """Wherever it is cut but between two fields: there a shorter model is a model."""
    data = (TOKENIZERS / "unigram/sentencepiece.bpe.model").read_bytes()
    n_refused = 0
    for length in range(1, len(data), 97):
        (tmp_path / unigram.FILE_NAME).write_bytes(data[:length])
        with suppress(NamingError):
            unigram.read_sentencepiece(tmp_path, 320)
            continue
        n_refused += 1
    assert n_refused > len(data) // 97 * 0.9
