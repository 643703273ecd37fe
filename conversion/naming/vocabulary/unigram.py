"""Unigram as XLM-RoBERTa has it: sentencepiece.bpe.model where it is there, or else tokenizer.json.

fairseq put its own special tokens before SentencePiece's, so the ids of the model are not those of its
sentencepiece.bpe.model: `<s> <pad> </s> <unk>`, then the model's pieces from its fourth on, one further each. The
normalisation is a table of replacements that llama.cpp reads as SentencePiece wrote it (`precompiled_charsmap`).
"""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

from conversion.naming.base import Config, NamingError, read_count
from conversion.naming.vocabulary import bpe, sentencepiece
from conversion.naming.vocabulary.files import UNUSED_SCORE, read_json, read_limited, read_vocab_size
from conversion.naming.vocabulary.sentencepiece import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Token
from conversion.naming.vocabulary.special import describe_special

FILE_NAME = "sentencepiece.bpe.model"

FAIRSEQ = (("<s>", CONTROL), ("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN))

# sentencepiece_model.proto: ModelProto, TrainerSpec and NormalizerSpec
_TRAINER, _NORMALIZER, _MODEL_TYPE, _CHARSMAP, _DUMMY_PREFIX, _EXTRA_SPACES = 2, 3, 3, 2, 3, 4
UNIGRAM = 1


@dataclass(frozen=True)
class Vocabulary:
    tokens: list[Token]
    adds_prefix: bool
    removes_spaces: bool
    charsmap: bytes


def describe(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """`tokenizer.ggml.model` t5, with tokens, scores, types, the normalisation and special ids."""
    vocab_size = read_vocab_size(config)
    found = (
        read_sentencepiece(folder, vocab_size)
        if (folder / FILE_NAME).is_file()
        else read_tokenizer(folder, vocab_size)
    )
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.text for token in found.tokens])
    writer.add_token_scores([token.score for token in found.tokens])
    writer.add_token_types([token.type for token in found.tokens])
    writer.add_add_space_prefix(found.adds_prefix)
    writer.add_token_type_count(read_count(config, "type_vocab_size", 1))
    writer.add_remove_extra_whitespaces(found.removes_spaces)
    writer.add_precompiled_charsmap(found.charsmap)
    describe_special(folder, writer, merges=False, n_vocab=len(found.tokens))


def read_sentencepiece(folder: Path, vocab_size: int) -> Vocabulary:
    """The vocabulary in fairseq's order; NamingError `bad-tokenizer` for a model that is not Unigram."""
    data = read_limited(folder / FILE_NAME)
    specs: dict[int, dict[int, Any]] = {
        number: dict(sentencepiece.read_fields(value))
        for number, value in sentencepiece.read_fields(data)
        if number in (_TRAINER, _NORMALIZER) and isinstance(value, bytes)
    }
    if specs.get(_TRAINER, {}).get(_MODEL_TYPE, UNIGRAM) != UNIGRAM:
        raise NamingError("bad-tokenizer", f"{FILE_NAME} is not a Unigram model.")
    normalizer = specs.get(_NORMALIZER, {})
    charsmap = normalizer.get(_CHARSMAP, b"")
    pieces = list(sentencepiece.read_pieces(data))
    n_tokens = max(vocab_size, len(pieces))
    pieces += [Token(f"[PAD{number}]", UNUSED_SCORE, UNUSED) for number in range(len(pieces), n_tokens)]
    return Vocabulary(
        [Token(text, 0.0, kind) for text, kind in FAIRSEQ] + pieces[3:-1],
        adds_prefix=bool(normalizer.get(_DUMMY_PREFIX, True)),
        removes_spaces=bool(normalizer.get(_EXTRA_SPACES, True)),
        charsmap=charsmap if isinstance(charsmap, bytes) else b"",
    )


def read_tokenizer(folder: Path, vocab_size: int) -> Vocabulary:
    """The vocabulary of tokenizer.json, whose ids are the model's own."""
    described = read_json(folder / bpe.FILE_NAME)
    model = described.get("model")
    if not isinstance(model, dict) or model.get("type") != "Unigram":
        raise NamingError(
            "unsupported-tokenizer",
            f"this family's tokenizer is Unigram, in {FILE_NAME} or {bpe.FILE_NAME}; neither is there.",
        )
    settings = read_json(folder / "tokenizer_config.json")
    return Vocabulary(
        _tokens(described, settings, vocab_size),
        adds_prefix=settings.get("add_prefix_space") is not False,
        removes_spaces=settings.get("clean_up_tokenization_spaces") is True,
        charsmap=_charsmap(described.get("normalizer")),
    )


def _tokens(described: dict[str, Any], settings: dict[str, Any], vocab_size: int) -> list[Token]:
    """Read as JSON: the tokenizers library may panic over a table of replacements that is not one."""
    model = described["model"]
    try:
        pieces = [(str(text), float(score)) for text, score in model["vocab"]]
        added = {int(one["id"]): one for one in described.get("added_tokens") or []}
        id_of = {str(one["content"]): number for number, one in added.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NamingError(
            "bad-tokenizer", f"{bpe.FILE_NAME}: tokens are not as they should be: {error!r:.100}"
        ) from error
    unknown = id_of.get(str(settings.get("unk_token")), model.get("unk_id", 3))
    tokens = []
    for number, (text, score) in enumerate(pieces):
        kind = NORMAL
        if number == unknown:
            kind = UNKNOWN
        elif number in added:
            kind = CONTROL if added[number].get("special") else USER_DEFINED
        tokens.append(Token(text, score, kind))
    gaps = range(len(tokens), vocab_size)
    return tokens + [Token(f"[PAD{number}]", UNUSED_SCORE, UNUSED) for number in gaps]


def _charsmap(normalizer: Any) -> bytes:
    """The table of the Precompiled normalizer, alone or among others; b"" without one."""
    if not isinstance(normalizer, dict):
        return b""
    if normalizer.get("type") == "Sequence":
        inner = normalizer.get("normalizers")
        return next(filter(None, map(_charsmap, inner)), b"") if isinstance(inner, list) else b""
    try:
        return base64.b64decode(str(normalizer.get("precompiled_charsmap") or ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise NamingError("bad-tokenizer", f"{bpe.FILE_NAME}: precompiled_charsmap is not base64.") from error
