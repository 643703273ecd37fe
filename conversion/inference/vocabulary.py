"""Only the tokenizer of a checkpoint, read by the library that wrote it: SentencePiece or Hugging Face's tokenizers.

The third opinion when the parent runs as our own GGUF: its ids are then not an echo of our conversion.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conversion.inference.engine import EngineError, EngineReport, Facts, Vocabulary
from conversion.inference.installed import version_of


class SentencePieceModel:
    """A `tokenizer.model`."""

    def __init__(self, path: str) -> None:
        import sentencepiece

        try:
            self._pieces: Any = sentencepiece.SentencePieceProcessor(model_file=path)
        except (OSError, RuntimeError) as error:
            raise EngineError("load-refused", f"not a SentencePiece model: {error}") from error
        bos = self._pieces.bos_id()
        self.facts = Facts(self._pieces.vocab_size(), 0, bos if bos >= 0 else None, bos >= 0)

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        return list(self._pieces.encode(text, add_bos=special))

    def detokenize(self, ids: Sequence[int]) -> str:
        return str(self._pieces.decode(list(ids)))

    def encode(self, texts: Sequence[str], *, special: bool, parse: bool) -> list[list[int]]:
        """With `parse` as without: the library never takes text for a special token."""
        return [self.tokenize(text, special=special) for text in texts]

    def decode(self, batches: Sequence[Sequence[int]]) -> list[str]:
        return [self.detokenize(ids) for ids in batches]

    def describe(self) -> Vocabulary:
        found = {name: getattr(self._pieces, f"{name}_id")() for name in ("bos", "eos", "unk", "pad")}
        special = {name: token for name, token in found.items() if token >= 0}
        return Vocabulary("SentencePiece", self.facts.n_vocab, special)

    def is_end(self, token: int) -> bool:
        return bool(token == self._pieces.eos_id())

    def logits(self, ids: Sequence[int], *, first: int, extend: bool) -> memoryview:
        raise EngineError("decode-failed", "a tokenizer has no logits")


class TokenizersModel:
    """A `tokenizer.json`."""

    def __init__(self, path: str) -> None:
        import tokenizers

        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(path)
        except Exception as error:  # the library raises a bare Exception for every malformed file
            raise EngineError("load-refused", f"not a tokenizer.json: {error}") from error
        # Makers of embeddings publish how they cut and fill batches; a text is asked for as it is.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.facts = Facts(self._tokenizer.get_vocab_size(), 0, None, adds_bos=False)

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=special).ids)

    def detokenize(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids)))

    def encode(self, texts: Sequence[str], *, special: bool, parse: bool) -> list[list[int]]:
        self._tokenizer.encode_special_tokens = not parse
        try:
            return [one.ids for one in self._tokenizer.encode_batch(list(texts), add_special_tokens=special)]
        finally:
            self._tokenizer.encode_special_tokens = False

    def decode(self, batches: Sequence[Sequence[int]]) -> list[str]:
        return list(
            map(str, self._tokenizer.decode_batch(list(map(list, batches)), skip_special_tokens=False))
        )

    def describe(self) -> Vocabulary:
        """Special ids are not in the file, but what it puts around a text shows."""
        kind = type(self._tokenizer.model).__name__
        return Vocabulary(kind, self.facts.n_vocab)

    def is_end(self, token: int) -> bool:
        return False

    def logits(self, ids: Sequence[int], *, first: int, extend: bool) -> memoryview:
        raise EngineError("decode-failed", "a tokenizer has no logits")


class TokenizerEngine:
    """Loads one tokenizer file."""

    def __init__(self) -> None:
        # Both libraries are imported now: afterwards the sandbox lets nothing but code be read.
        import sentencepiece  # noqa: F401
        import tokenizers  # noqa: F401

        versions = f"{version_of('sentencepiece')}, {version_of('tokenizers')}"
        self.report = EngineReport("tokenizer", "sentencepiece, tokenizers", versions)

    def load(self, path: str) -> SentencePieceModel | TokenizersModel:
        return TokenizersModel(path) if Path(path).suffix == ".json" else SentencePieceModel(path)


def start(threads: int) -> TokenizerEngine:
    return TokenizerEngine()
