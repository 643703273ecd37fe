"""Tokenizers as GGUF metadata: `tokenizer.*`, as the reference converter writes them.

A kind of tokenizer is one file here and one line in `KINDS`; the first whose files are there is taken.
"""

from collections.abc import Callable
from pathlib import Path

import gguf

from conversion.naming.base import Config, NamingError
from conversion.naming.vocabulary import bpe, byte_fallback, sentencepiece

KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Config, Path, gguf.GGUFWriter], None]], ...] = (
    (sentencepiece.is_present, sentencepiece.describe),
    (byte_fallback.is_present, byte_fallback.describe),
    (bpe.is_present, bpe.describe),
)


def describe_vocabulary(config: Config, folder: Path, writer: gguf.GGUFWriter) -> None:
    """Every `tokenizer.*` key. NamingError `no-tokenizer`, `bad-tokenizer` or `unsupported-tokenizer`."""
    for is_present, describe in KINDS:
        if is_present(folder):
            describe(config, folder, writer)
            return
    raise NamingError(
        "no-tokenizer",
        "the checkpoint has neither tokenizer.model nor tokenizer.json, and a GGUF needs its vocabulary.",
    )
