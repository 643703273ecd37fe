"""SentencePiece's BPE in tokenizer.json: the same tokens as in tokenizer.model, scored by the order of the merges."""

import json
from pathlib import Path
from typing import Any

import pytest

from conversion.naming import NamingError
from conversion.naming.collecting import collected, new_collector
from conversion.naming.vocabulary import describe_vocabulary
from conversion.naming.vocabulary.byte_fallback import puts_a_space_first, read_tokens
from conversion.naming.vocabulary.sentencepiece import read_pieces
from tests.conversion.naming.models import config
from tests.fixtures.architectures.fixture import TOKENIZERS

PUBLISHED = json.loads((TOKENIZERS / "byte_fallback/tokenizer.json").read_text())
NAMES = {"<s>", "</s>", "<unk>"}


def vocabulary(folder: Path, described: dict[str, Any], vocab_size: int = 352) -> dict[str, Any]:
    (folder / "tokenizer.json").write_text(json.dumps(described))
    writer = new_collector("llama")
    describe_vocabulary(config(vocab_size=vocab_size), folder, writer)
    return {key: value.value for key, value in collected(writer).items()}


def test_tokens_are_those_of_the_model_they_came_from_and_better_pieces_score_better() -> None:
    pieces = list(read_pieces((TOKENIZERS / "sentencepiece/tokenizer.model").read_bytes()))
    tokens = read_tokens(PUBLISHED, NAMES, 352)
    assert [token.text for token in tokens] == [piece.text for piece in pieces]
    merged = [number for number, token in enumerate(tokens) if token.score > -1000]
    assert len(merged) == len(PUBLISHED["model"]["merges"])
    by_ours = sorted(merged, key=lambda number: -tokens[number].score)
    assert by_ours == sorted(merged, key=lambda number: -pieces[number].score)


def test_types_and_gaps() -> None:
    described = PUBLISHED | {
        "added_tokens": [
            {"id": 1, "content": "<s>", "special": True}, {"id": 352, "content": "<tool>", "special": False},
            {"id": 353, "content": "<|end|>", "special": True},
        ]
    }  # fmt: skip
    tokens = read_tokens(described, NAMES, 355)
    kinds = {token.text: token.type for token in tokens}
    assert (kinds["<s>"], kinds["<0x0A>"], kinds["▁the"]) == (3, 6, 1)
    assert (kinds["<tool>"], kinds["<|end|>"], kinds["[PAD354]"]) == (4, 3, 5)


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "expected"),
    [
        (None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}, True),
        (None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": False}, False),
        (
            {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ]},
            None,
            True,
        ),
        ({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "Split"}, False),
    ],
)  # fmt: skip
def test_whether_a_space_is_put_first(
    tmp_path: Path, normalizer: Any, pre_tokenizer: Any, expected: bool
) -> None:
    described = PUBLISHED | {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer}
    assert puts_a_space_first(described) is expected
    assert vocabulary(tmp_path, described).get("tokenizer.ggml.add_space_prefix", True) is expected


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"pre_tokenizer": {"type": "ByteLevel"}}, "unsupported-tokenizer"),
        ({"added_tokens": [{"id": 999, "content": "x"}]}, "bad-tokenizer"),
        ({"added_tokens": [{"id": "1", "content": "x"}]}, "bad-tokenizer"),
        ({"added_tokens": [7]}, "bad-tokenizer"),
        ({"model": PUBLISHED["model"] | {"merges": [["a"]]}}, "bad-tokenizer"),
        ({"model": PUBLISHED["model"] | {"vocab": {"a": -1}}}, "bad-tokenizer"),
        ({"model": PUBLISHED["model"] | {"vocab": 7}}, "bad-tokenizer"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    with pytest.raises(NamingError) as refused:
        vocabulary(tmp_path, PUBLISHED | change)
    assert refused.value.code == code
