"""`tokenizer.model` from tokens, scores and types; added tokens go to tokenizer_config.json, where they came from."""

from typing import Any

from conversion.formats.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    Piece,
    sentencepiece_model,
)
from conversion.naming.base import NamingError
from conversion.naming.restoring.held import Held
from conversion.naming.vocabulary.files import ADDED_SCORE, UNUSED_SCORE

CLASSES = {"gemma": "GemmaTokenizer", "gemma2": "GemmaTokenizer", "gemma3": "GemmaTokenizer"}
NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


def files(held: Held, tokens: list[str], types: list[int], settings: dict[str, Any]) -> dict[str, bytes]:
    """tokenizer.model; `settings` names the class and the added tokens."""
    scores = held.whole("tokenizer.ggml.scores") or [0.0] * len(tokens)
    if len(scores) != len(tokens) or not all(NORMAL <= kind <= BYTE for kind in types):
        raise NamingError("tokenizer-not-restored", "its scores or types do not go with its tokens")
    pieces = [Piece(*parts) for parts in zip(tokens, scores, types, strict=True)]
    settings["tokenizer_class"] = CLASSES.get(held.architecture, "LlamaTokenizer")
    settings["legacy"] = False
    settings["added_tokens_decoder"] = _added(pieces, settings)
    puts_space = held.metadata.get("tokenizer.ggml.add_space_prefix", True) is not False
    if "tokenizer.ggml.add_space_prefix" in held.metadata:
        settings["add_prefix_space"] = puts_space
    ids = {name: tokens.index(settings[name]) for name in NAMED if name in settings}
    while pieces and (pieces[-1].type, pieces[-1].score) == (UNUSED, UNUSED_SCORE):
        pieces.pop()  # rows of the embedding without a token
    return {"tokenizer.model": sentencepiece_model(pieces, puts_space_first=puts_space, special=ids)}


def _added(pieces: list[Piece], settings: dict[str, Any]) -> dict[str, Any]:
    """By id: what was added to the model's own pieces, as far as its score says so."""
    named = {settings.get(name) for name in NAMED}
    return {
        str(number): {
            "content": piece.text, "special": piece.type == CONTROL, "normalized": False, "single_word": False,
            "lstrip": False, "rstrip": False,
        }
        for number, piece in enumerate(pieces)
        if piece.type in (CONTROL, USER_DEFINED) and piece.score == ADDED_SCORE and piece.text not in named
    }  # fmt: skip
