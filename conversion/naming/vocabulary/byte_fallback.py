"""SentencePiece's BPE as tokenizer.json keeps it: merges instead of scores, and bytes for what no piece covers.

Many Llamas and Mistrals come without tokenizer.model. llama.cpp merges the pair whose result has the best score, and
the merges of tokenizer.json are in the order of those scores; so a token's score here is minus the rank of the first
merge that makes it. The reference converter gives every such token the score -1000, with which llama.cpp merges from
left to right and finds other ids than the model was trained on: in this one point we mean to differ from it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf

from conversion.naming.base import Config, NamingError
from conversion.naming.vocabulary.files import ADDED_SCORE, UNUSED_SCORE, read_json, read_vocab_size
from conversion.naming.vocabulary.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE_MARK,
    UNUSED,
    USER_DEFINED,
    Token,
)
from conversion.naming.vocabulary.special import describe_special

FILE_NAME = "tokenizer.json"
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def is_present(folder: Path) -> bool:
    model = read_json(folder / FILE_NAME).get("model")
    return isinstance(model, dict) and model.get("type") == "BPE" and bool(model.get("byte_fallback"))


def describe(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """`tokenizer.ggml.model` llama, with tokens, scores, types and special ids."""
    described = read_json(folder / FILE_NAME)
    try:
        prefix = puts_a_space_first(described)
        tokens = read_tokens(described, _special_names(folder), read_vocab_size(config))
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise NamingError("bad-tokenizer", f"{FILE_NAME} cannot be read: {str(error)[:200]}") from error
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.text for token in tokens])
    writer.add_token_scores([token.score for token in tokens])
    writer.add_token_types([token.type for token in tokens])
    if not prefix:
        writer.add_add_space_prefix(False)
    describe_special(folder, writer, merges=False, n_vocab=len(tokens))


def puts_a_space_first(described: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text; NamingError `unsupported-tokenizer` where spaces do not become marks."""
    rules = [*_flattened(described.get("normalizer"), "normalizers"),
             *_flattened(described.get("pre_tokenizer"), "pretokenizers")]  # fmt: skip
    marks = [rule for rule in rules if SPACE_MARK in (rule.get("content"), rule.get("replacement"))]
    if not marks:
        raise NamingError(
            "unsupported-tokenizer",
            f"{FILE_NAME} holds BPE with byte fallback that does not write spaces as {SPACE_MARK!r}, which llama.cpp "
            "does. Supported: byte-level BPE, and SentencePiece as tokenizer.model or tokenizer.json.",
        )
    scheme = next(
        (rule.get("prepend_scheme", "always") for rule in marks if rule.get("type") == "Metaspace"), "never"
    )
    return scheme != "never" or any(rule.get("prepend") == SPACE_MARK for rule in rules)


def read_tokens(described: Mapping[str, Any], names: set[str], vocab_size: int) -> list[Token]:
    """Exactly `vocab_size` tokens in the order of their ids; gaps are `[PADn]`, unused."""
    model = described["model"]
    scores = _scores(model.get("merges") or ())
    tokens = [Token(f"[PAD{number}]", UNUSED_SCORE, UNUSED) for number in range(vocab_size)]
    for text, number in model["vocab"].items():
        kind = BYTE if _BYTE.fullmatch(text) else CONTROL if text in names else NORMAL
        _put(tokens, number, Token(text, scores.get(text, ADDED_SCORE), kind))
    for added in described.get("added_tokens") or ():
        text, is_special = added["content"], bool(added.get("special")) or added["content"] in names
        kind = CONTROL if is_special else USER_DEFINED
        _put(tokens, added["id"], Token(text, ADDED_SCORE, kind))
    return tokens


def _scores(merges: Any) -> dict[str, float]:
    scores: dict[str, float] = {}
    for rank, merge in enumerate(merges):
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        scores.setdefault(left + right, -float(rank))
    return scores


def _put(tokens: list[Token], number: Any, token: Token) -> None:
    if type(number) is not int or not 0 <= number < len(tokens):
        raise NamingError(
            "bad-tokenizer",
            f"{FILE_NAME} has a token with id {str(number)[:20]}, but config.json says vocab_size is {len(tokens)}.",
        )
    tokens[number] = token


def _special_names(folder: Path) -> set[str]:
    settings = read_json(folder / "tokenizer_config.json")
    found = (settings.get(f"{kind}_token") for kind in _NAMED)
    names = (entry.get("content") if isinstance(entry, dict) else entry for entry in found)
    return {name for name in names if isinstance(name, str)}


def _flattened(rule: Any, inner: str) -> list[dict[str, Any]]:
    if not isinstance(rule, dict):
        return []
    if rule.get("type") == "Sequence":
        return [one for part in rule.get(inner) or () for one in _flattened(part, inner)]
    return [rule]
