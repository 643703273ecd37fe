"""tokenizer.model, read without the native library, gives what that library gives; nonsense gives a clear error."""

import contextlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from conversion.naming import llama
from conversion.naming.base import NamingError
from conversion.naming.collecting import collected, new_collector
from conversion.naming.vocabulary import describe_vocabulary
from conversion.naming.vocabulary.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    read_pieces,
    read_tokens,
)
from tests.conversion.naming.models import SAMPLES, config

MODEL = (SAMPLES / "base-f32" / "tokenizer.model").read_bytes()


def piece(text: str, score: float = 0.0, kind: int = NORMAL) -> bytes:
    data = text.encode()
    body = b"\x0a" + bytes([len(data)]) + data + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(body)]) + body


def folder(tmp_path: Path, model: bytes, **files: object) -> Path:
    (tmp_path / "tokenizer.model").write_bytes(model)
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_every_piece_equals_that_of_the_library() -> None:
    library = SentencePieceProcessor(model_proto=MODEL)
    pieces = list(read_pieces(MODEL))
    assert len(pieces) == library.vocab_size() == 1024
    for number, token in enumerate(pieces):
        assert (token.text, token.score) == (library.id_to_piece(number), library.get_score(number))
        kinds = {
            UNKNOWN: library.is_unknown(number), CONTROL: library.is_control(number),
            UNUSED: library.is_unused(number), BYTE: library.is_byte(number),
        }  # fmt: skip
        assert token.type == next((kind for kind, applies in kinds.items() if applies), NORMAL)


def test_a_vocabulary_larger_than_the_model_is_filled_with_unused_tokens(tmp_path: Path) -> None:
    tokens = read_tokens(folder(tmp_path, piece("a")), 3)
    assert [(t.text, t.score, t.type) for t in tokens[1:]] == [
        ("[PAD1]", -10000.0, UNUSED), ("[PAD2]", -10000.0, UNUSED),
    ]  # fmt: skip


def test_a_vocabulary_smaller_than_the_model_is_cut(tmp_path: Path) -> None:
    tokens = read_tokens(folder(tmp_path, piece("a") + piece("b")), 1)
    assert [token.text for token in tokens] == ["a"]


def test_added_tokens_take_their_places(tmp_path: Path) -> None:
    decoder = {
        "2": {"content": "<|im_start|>", "special": False},
        "3": {"content": "\u2581tab", "special": False},
        "9": {"content": "beyond", "special": True},
    }
    path = folder(
        tmp_path, piece("a"), added_tokens={"<extra>": 1}, tokenizer_config={"added_tokens_decoder": decoder}
    )
    tokens = read_tokens(path, 4)
    assert [(t.text, t.score, t.type) for t in tokens[1:]] == [
        ("<extra>", -1000.0, USER_DEFINED), ("<|im_start|>", -1000.0, CONTROL), (" tab", -1000.0, USER_DEFINED),
    ]  # fmt: skip


def test_a_piece_that_sentencepiece_calls_user_defined_is_normal_as_in_the_reference() -> None:
    assert [token.type for token in read_pieces(piece("x", kind=USER_DEFINED))] == [NORMAL]


def test_special_ids_and_flags_come_from_the_configs(tmp_path: Path) -> None:
    settings = config(bos_token_id=1, eos_token_id=2)
    path = folder(
        tmp_path, MODEL, config=settings,
        tokenizer_config={"add_bos_token": True, "add_eos_token": False, "chat_template": "{{ messages }}"},
    )  # fmt: skip
    writer = new_collector("llama")
    describe_vocabulary(settings, path, writer)
    found = {key: value.value for key, value in collected(writer).items()}
    assert found["tokenizer.ggml.bos_token_id"] == 1
    assert (found["tokenizer.ggml.add_bos_token"], found["tokenizer.ggml.add_eos_token"]) == (True, False)
    assert found["tokenizer.chat_template"] == "{{ messages }}"
    assert found["tokenizer.ggml.model"] == "llama"


def test_code_llama_is_known_by_the_size_of_its_vocabulary(tmp_path: Path) -> None:
    writer = new_collector("llama")
    llama.vocabulary(config(vocab_size=32016), folder(tmp_path, piece("a")), writer)
    found = {key: value.value for key, value in collected(writer).items()}
    assert found["tokenizer.ggml.eot_token_id"] == 32010


@pytest.mark.parametrize("cut", [*range(1, 40), *range(40, len(MODEL), 997)])
def test_a_truncated_model_is_refused_or_shorter(cut: int) -> None:
    found = []
    with contextlib.suppress(NamingError):
        found = list(read_pieces(MODEL[:cut]))
    assert len(found) < 1024


@given(st.binary(max_size=200))
def test_nonsense_never_raises_anything_else(data: bytes) -> None:
    with contextlib.suppress(NamingError):
        list(read_pieces(data))


@pytest.mark.parametrize(
    "data", [b"\x0b", b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 11, piece("x", kind=9), b"\x08\x01", b"\x0d\0\0"]
)
def test_broken_messages_are_refused_by_name(data: bytes) -> None:
    if data == b"\x08\x01":  # field 1 as a number: a piece that is not a message
        with pytest.raises(NamingError, match="a piece is not a message"):
            list(read_pieces(data))
        return
    with pytest.raises(NamingError, match=r"tokenizer\.model is not a SentencePiece model"):
        list(read_pieces(data))


def test_a_checkpoint_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(NamingError, match=r"neither tokenizer\.model nor tokenizer\.json") as refused:
        describe_vocabulary(config(), tmp_path, new_collector("llama"))
    assert refused.value.code == "no-tokenizer"
