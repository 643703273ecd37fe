"""SentencePiece: tokenizer.model, a protocol buffer that is read here field by field, without the native library.

`ModelProto` holds `repeated SentencePiece pieces = 1`; a piece is `string piece = 1; float score = 2; Type type = 3`
(sentencepiece_model.proto). Everything else in the file is for training and is passed over.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

from conversion.naming.base import Config, NamingError
from conversion.naming.vocabulary.files import (
    ADDED_SCORE,
    UNUSED_SCORE,
    looks_special,
    read_json,
    read_limited,
    read_vocab_size,
)
from conversion.naming.vocabulary.special import describe_special

FILE_NAME = "tokenizer.model"
_PIECE, _TEXT, _SCORE, _TYPE = 1, 1, 2, 3
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""The same numbers in sentencepiece and in `tokenizer.ggml.token_type`. A piece that sentencepiece calls user-defined
is normal to the reference converter; only added tokens are user-defined."""

SPACE_MARK = "\u2581"


@dataclass
class Token:
    text: str
    score: float
    type: int


def is_present(folder: Path) -> bool:
    return (folder / FILE_NAME).is_file()


def describe(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """`tokenizer.ggml.model` llama, with tokens, scores, types and special ids."""
    tokens = read_tokens(folder, read_vocab_size(config))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.text for token in tokens])
    writer.add_token_scores([token.score for token in tokens])
    writer.add_token_types([token.type for token in tokens])
    describe_special(folder, writer, merges=False, n_vocab=len(tokens))


def read_tokens(folder: Path, vocab_size: int) -> list[Token]:
    """Exactly `vocab_size` tokens: the model's pieces, then what was added to them; gaps are `[PADn]`, unused."""
    tokens = list(read_pieces(read_limited(folder / FILE_NAME)))[:vocab_size]
    tokens += [Token(f"[PAD{n}]", UNUSED_SCORE, UNUSED) for n in range(len(tokens), vocab_size)]
    for text, number in read_json(folder / "added_tokens.json").items():
        _add(tokens, number, Token(text, ADDED_SCORE, USER_DEFINED))
    decoder = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise NamingError("bad-tokenizer", "tokenizer_config.json: added_tokens_decoder is not an object.")
    for number, described in decoder.items():
        _add(tokens, number, _described(described))
    return tokens


def read_pieces(data: bytes) -> Iterator[Token]:
    """The pieces of a model in the order of their ids; NamingError `bad-tokenizer` where it is not one."""
    for number, value in read_fields(data):
        if number == _PIECE:
            if not isinstance(value, bytes):
                raise _broken("a piece is not a message")
            yield _piece(value)


def _piece(data: bytes) -> Token:
    token = Token("", 0.0, NORMAL)
    for number, value in read_fields(data):
        if number == _TEXT and isinstance(value, bytes):
            token.text = value.decode("utf-8", "surrogateescape")
        elif number == _SCORE and isinstance(value, float):
            token.score = value
        elif number == _TYPE and isinstance(value, int):
            token.type = NORMAL if value == USER_DEFINED else value
    if not NORMAL <= token.type <= BYTE:
        raise _broken(f"a piece has type {token.type}")
    return token


def read_fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == _VARINT:
            value: int | float | bytes
            value, position = _varint(data, position)
        elif kind == _BYTES:
            length, position = _varint(data, position)
            value, position = _take(data, position, length), position + length
        elif kind == _FIXED32:
            value, position = struct.unpack("<f", _take(data, position, 4))[0], position + 4
        elif kind == _FIXED64:
            value, position = _take(data, position, 8), position + 8
        else:
            raise _broken(f"wire type {kind} at byte {position}")
        yield tag >> 3, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise _broken("it ends within a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _broken(f"a number of more than ten bytes before byte {position}")


def _take(data: bytes, position: int, length: int) -> bytes:
    if position + length > len(data):
        raise _broken(f"a field of {length} bytes at byte {position} goes beyond its end")
    return data[position : position + length]


def _add(tokens: list[Token], number: Any, token: Token) -> None:
    index = int(number) if isinstance(number, int) or str(number).isdecimal() else -1
    if index < 0:
        raise NamingError(
            "bad-tokenizer", f"the added token {token.text[:80]!r} has the id {str(number)[:20]!r}."
        )
    if index < len(
        tokens
    ):  # an id beyond the vocabulary has no row of weights; the reference passes over it too
        tokens[index] = token


def _described(described: Any) -> Token:
    if not isinstance(described, dict) or not isinstance(described.get("content"), str):
        raise NamingError("bad-tokenizer", "tokenizer_config.json: an added token has no content.")
    text = described["content"]
    if described.get("special") or looks_special(text):
        return Token(text, ADDED_SCORE, CONTROL)
    return Token(text.replace(SPACE_MARK, " "), ADDED_SCORE, USER_DEFINED)


def _broken(why: str) -> NamingError:
    return NamingError("bad-tokenizer", f"{FILE_NAME} is not a SentencePiece model: {why}.")
