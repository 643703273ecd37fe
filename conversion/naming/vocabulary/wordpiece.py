"""WordPiece (BERT): tokenizer.json, read by the tokenizers library.

WordPiece marks the pieces that continue a word (`##ing`); llama.cpp marks those that begin one, with a thick space.
Whether text is lowered and stripped of accents first is said by keys of its own.
"""

from pathlib import Path
from typing import Any

import gguf
from tokenizers import Tokenizer

from conversion.naming.base import Config, NamingError, read_count
from conversion.naming.vocabulary import bpe
from conversion.naming.vocabulary.files import read_json, read_vocab_size
from conversion.naming.vocabulary.pretokenizers import probe_digest
from conversion.naming.vocabulary.special import describe_special

CONTINUATION, SPACE_MARK = "##", "\u2581"

BY_DIGEST: dict[str, str] = {
    "0876d13b50744004aa9aeae05e7b0647eac9d801b5ba4668afc01e709c15e19f": "jina-v2-en",  # BERT base uncased, BGE, Nomic
    "8e62295832751ca1e8f92f2226f403dea30dc5165e448b5bfa05af5340c64ec7": "bert-bge-large",  # BGE large, Chinese
}
DEFAULT_PRE = "bert-bge"
"""For any other vocabulary. llama.cpp does not read the name for WordPiece: it has one way of splitting words."""


def is_present(folder: Path) -> bool:
    return _kind(read_json(folder / bpe.FILE_NAME)) == "WordPiece"


def describe(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """`tokenizer.ggml.model` bert, with tokens, types, special ids and how text is normalised."""
    described = read_json(folder / bpe.FILE_NAME)
    _check(described)
    tokenizer = bpe.load(folder)
    tokens, types = bpe.read_tokens(tokenizer, read_vocab_size(config))
    writer.add_token_type_count(read_count(config, "type_vocab_size", 1))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre(_pre(tokenizer))
    writer.add_token_list([_marked(token, kind) for token, kind in zip(tokens, types, strict=True)])
    writer.add_token_types(types)
    describe_special(folder, writer, merges=False, n_vocab=len(tokens))


def _pre(tokenizer: Tokenizer) -> str:
    return BY_DIGEST.get(probe_digest(tokenizer), DEFAULT_PRE)


def _marked(token: str, kind: int) -> str:
    if kind == gguf.TokenType.CONTROL:
        return token
    if token.startswith(CONTINUATION):
        return token.removeprefix(CONTINUATION)
    return SPACE_MARK + token


def _kind(described: dict[str, Any]) -> str:
    model = described.get("model")
    return str(model.get("type"))[:60] if isinstance(model, dict) else "none"


def _check(described: dict[str, Any]) -> None:
    if _kind(described) != "WordPiece":
        raise NamingError(
            "unsupported-tokenizer",
            f"this family's tokenizer is WordPiece in {bpe.FILE_NAME}, but there is {_kind(described)}.",
        )
    rule = described.get("pre_tokenizer")
    name = rule.get("type") if isinstance(rule, dict) else None
    if name != "BertPreTokenizer":
        raise NamingError(
            "unknown-pre-tokenizer",
            f"the WordPiece pre-tokenizer is {str(name)[:60]}. Supported: BertPreTokenizer.",
        )
