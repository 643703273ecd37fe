"""Tokenizers as GGUF metadata: `tokenizer.*`, as the reference converter writes them.

A kind of tokenizer is one file here and one line in `KINDS`; the first whose files are there is taken.
"""

from collections.abc import Callable
from pathlib import Path

import gguf

from conversion.naming.base import Config, NamingError, read_count
from conversion.naming.vocabulary import bpe, sentencepiece
from conversion.naming.vocabulary.files import read_json

KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Config, Path, gguf.GGUFWriter], None]], ...] = (
    (sentencepiece.is_present, sentencepiece.describe),
    (bpe.is_present, bpe.describe),
)

CODE_LLAMA_VOCABULARY, CODE_LLAMA_EOT = 32016, 32010
SMALL_GRANITE_VOCABULARY = 49152  # SmolLM and SmolLM2 have the same size, and the reference treats them alike


def describe_vocabulary(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """Every `tokenizer.*` key. NamingError `no-tokenizer`, `bad-tokenizer` or `unsupported-tokenizer`."""
    add_prefix_space = read_json(folder / "tokenizer_config.json").get("add_prefix_space")
    if isinstance(add_prefix_space, bool):
        writer.add_add_space_prefix(add_prefix_space)
    for is_present, describe in KINDS:
        if is_present(folder):
            describe(config, folder, writer)
            break
    else:
        raise NamingError(
            "no-tokenizer",
            "the checkpoint has neither tokenizer.model nor tokenizer.json, and a GGUF needs its vocabulary.",
        )
    _describe_by_size(read_count(config, "vocab_size"), writer)


def _describe_by_size(vocab_size: int, writer: gguf.GGUFWriter) -> None:
    """What the reference knows by the size of the vocabulary alone (conversion/llama.py: set_vocab)."""
    if vocab_size == CODE_LLAMA_VOCABULARY:
        writer.add_eot_token_id(CODE_LLAMA_EOT)
    if vocab_size == SMALL_GRANITE_VOCABULARY:
        writer.add_add_bos_token(False)
