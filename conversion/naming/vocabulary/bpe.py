"""Byte-level BPE (GPT-2, Llama 3, SmolLM, Qwen): tokenizer.json, read by the tokenizers library."""

from pathlib import Path
from typing import Any

import gguf
from tokenizers import AddedToken, Tokenizer

from conversion.naming.base import Config, NamingError
from conversion.naming.collecting import Collector
from conversion.naming.vocabulary.files import (
    looks_special,
    read_json,
    read_limited,
    read_vocab_size,
    refused_by_library,
)
from conversion.naming.vocabulary.pretokenizers import check_stated, identify
from conversion.naming.vocabulary.special import describe_special

FILE_NAME = "tokenizer.json"
SPACE_MARK = "\u2581"


def is_present(folder: Path) -> bool:
    return (folder / FILE_NAME).is_file()


def describe(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """`tokenizer.ggml.model` gpt2, with pre-tokenizer, tokens, types, merges and special ids."""
    described = read_json(folder / FILE_NAME)
    _check_model(described)
    tokenizer = load(folder)
    tokens, types = read_tokens(tokenizer, read_vocab_size(config))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer(tokenizer, described, writer))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    describe_special(folder, writer, merges=True)


def _pre_tokenizer(tokenizer: Tokenizer, described: dict[str, Any], writer: gguf.GGUFWriter) -> str:
    stated = writer.pre_tokenizer if isinstance(writer, Collector) else ""
    return check_stated(stated) if stated else identify(tokenizer, described, writer.arch)


def read_tokens(tokenizer: Tokenizer, vocab_size: int) -> tuple[list[str], list[int]]:
    """Text and type of exactly `vocab_size` tokens; ids that no token has are `[PADn]`, unused."""
    text_of = {number: text for text, number in tokenizer.get_vocab(with_added_tokens=True).items()}
    if text_of and max(text_of) >= vocab_size:
        raise NamingError(
            "bad-tokenizer",
            f"{FILE_NAME} has a token with id {max(text_of)}, but config.json says vocab_size is {vocab_size}.",
        )
    added = tokenizer.get_added_tokens_decoder()
    tokens, types = [], []
    for number in range(vocab_size):
        text, kind = f"[PAD{number}]", gguf.TokenType.UNUSED
        if number in text_of:
            text, kind = text_of[number], gguf.TokenType.NORMAL
            if number in added:
                text, kind = _added(tokenizer, text, added[number])
        tokens.append(text)
        types.append(int(kind))
    return tokens, types


def _added(tokenizer: Tokenizer, text: str, token: AddedToken) -> tuple[str, gguf.TokenType]:
    """llama.cpp takes added tokens as they appear in text; one that is normalised first is stored as it comes out."""
    if not token.normalized:
        with refused_by_library():
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            text = tokenizer.decode(ids, skip_special_tokens=False)
    if token.special or looks_special(text):
        return text, gguf.TokenType.CONTROL
    return text.replace(SPACE_MARK, " "), gguf.TokenType.USER_DEFINED


def load(folder: Path) -> Tokenizer:
    """The library's tokenizer of that folder; NamingError `bad-tokenizer` for what it does not take."""
    with refused_by_library():
        return Tokenizer.from_buffer(read_limited(folder / FILE_NAME))


def _check_model(described: dict[str, Any]) -> None:
    model = described.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind != "BPE" or model.get("byte_fallback"):
        found = f"{kind} with byte fallback" if kind == "BPE" else str(kind)[:60]
        raise NamingError(
            "unsupported-tokenizer",
            f"{FILE_NAME} holds a tokenizer of type {found}. Supported: byte-level BPE in {FILE_NAME}, and "
            "SentencePiece in tokenizer.model, which this checkpoint does not have.",
        )
