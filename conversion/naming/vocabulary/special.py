"""Special token ids, add_bos/add_eos, merges and the chat template, read by the gguf package.

Differs from the package's 0.19 in one point, where the reference converter has moved on: a tokenizer whose
post-processor is plain ByteLevel adds neither bos nor eos, whatever tokenizer_config.json says.
"""

import logging
from pathlib import Path
from typing import Any

import gguf

from conversion.naming.base import NamingError
from conversion.naming.vocabulary.files import read_json

logging.getLogger("gguf.vocab").setLevel(logging.CRITICAL)  # its warnings are for people at a terminal
logging.getLogger("gguf.gguf_writer").setLevel(logging.CRITICAL)


class SpecialTokens(gguf.SpecialVocab):
    """What the tokenizer's files say of special tokens; `add_to_gguf` writes it."""

    def _load(self, path: Path) -> None:
        neither = (
            {"bos": False, "eos": False} if _is_byte_level_only(read_json(path / "tokenizer.json")) else {}
        )
        self.add_special_token.update(neither)
        super()._load(path)
        self.add_special_token.update(neither)


def describe_special(
    folder: Path, writer: gguf.GGUFWriter, *, merges: bool, n_vocab: int | None = None
) -> None:
    """Merges if asked for, `tokenizer.ggml.*_token_id`, add_bos/add_eos and the chat template."""
    try:
        special = SpecialTokens(folder, load_merges=merges, n_vocab=n_vocab)
        special.add_to_gguf(writer, quiet=True)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise NamingError(
            "bad-tokenizer", f"the tokenizer's special tokens cannot be read: {str(error)[:200]}"
        ) from error


def _is_byte_level_only(tokenizer: dict[str, Any]) -> bool:
    post = tokenizer.get("post_processor")
    if not isinstance(post, dict):
        return False
    processors = post.get("processors") or [post]
    return all(isinstance(one, dict) and one.get("type") == "ByteLevel" for one in processors)
