"""A SentencePiece tokenizer from tokens, scores and types: as tokenizer.model, and as tokenizer.json for newer loaders.

tokenizer.json keeps merges instead of scores: every way to put a piece together of two others, best piece first, as
transformers' own converter lists them. Added tokens go to tokenizer_config.json, too, where they came from.
"""

import json
from collections.abc import Sequence
from typing import Any

from conversion.formats.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE_MARK,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Piece,
    sentencepiece_model,
)
from conversion.naming.base import NamingError
from conversion.naming.restoring.bpe import added_tokens, post_processor
from conversion.naming.restoring.held import Held
from conversion.naming.vocabulary.files import ADDED_SCORE, UNUSED_SCORE

CLASSES = {"gemma": "GemmaTokenizer", "gemma2": "GemmaTokenizer", "gemma3": "GemmaTokenizer"}
NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


def files(held: Held, tokens: list[str], types: list[int], settings: dict[str, Any]) -> dict[str, bytes]:
    """tokenizer.model and tokenizer.json; `settings` names the class and the added tokens."""
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
    model = sentencepiece_model(pieces, puts_space_first=puts_space, special=ids)
    described = _described(tokens, types, pieces, settings, puts_space=puts_space)
    return {"tokenizer.model": model, "tokenizer.json": described}


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


def _described(
    tokens: list[str],
    types: list[int],
    pieces: Sequence[Piece],
    settings: dict[str, Any],
    *,
    puts_space: bool,
) -> bytes:
    """tokenizer.json: spaces become marks, unknown letters bytes."""
    from_mark = {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if puts_space else []
    described = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": added_tokens(tokens, types, (UNKNOWN, CONTROL, USER_DEFINED)),
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Metaspace", "replacement": SPACE_MARK, "prepend_scheme": "first" if puts_space else "never",
            "split": False,
        },
        "post_processor": post_processor(tokens, settings, []),
        "decoder": {"type": "Sequence", "decoders": [from_mark, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": settings.get("unk_token"), "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": any(kind == BYTE for kind in types),
            "ignore_merges": False, "vocab": {piece.text: number for number, piece in enumerate(pieces)},
            "merges": _merges(pieces),
        },
    }  # fmt: skip
    return json.dumps(described, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _merges(pieces: Sequence[Piece]) -> list[list[str]]:
    """[left, right], pieces of the best score first; of one piece in the order of its parts' ids."""
    number_of = {piece.text: number for number, piece in enumerate(pieces) if piece.type == NORMAL}
    found = []
    for piece in pieces:
        if piece.type != NORMAL:
            continue
        parts = [(piece.text[:at], piece.text[at:]) for at in range(1, len(piece.text))]
        known = [(left, right) for left, right in parts if left in number_of and right in number_of]
        ordered = sorted(known, key=lambda both: (number_of[both[0]], number_of[both[1]]))
        found += [(piece.score, list(both)) for both in ordered]
    return [both for _, both in sorted(found, key=lambda one: -one[0])]
