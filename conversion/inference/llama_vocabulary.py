"""The vocabulary of a GGUF as llama.cpp reads it, without the weights, and the chat templates it renders."""

import ctypes
from collections.abc import Sequence
from ctypes import c_int32
from typing import Any

from conversion.inference.engine import EngineError, Facts, Vocabulary
from conversion.inference.llama_api import ADDED_TOKENS, SPECIAL_TOKENS
from conversion.inference.llama_chat import LlamaChat
from conversion.inference.llamacpp import LlamaCpp

KINDS = {0: "none", 1: "SentencePiece", 2: "BPE", 3: "WordPiece", 4: "Unigram", 5: "RWKV", 6: "PLaMo-2"}
"""`enum llama_vocab_type`."""

MAX_PIECE_BYTES = 1 << 16


class LlamaVocabularyEngine:
    """llama.cpp, of which only the vocabulary is wanted."""

    def __init__(self, threads: int) -> None:
        self._engine = LlamaCpp(threads)
        self.report = self._engine.report

    def load(self, path: str) -> "LlamaVocabulary":
        """The vocabulary of the GGUF at `path`; its tensors are not read. Raises EngineError as LlamaCpp.load does."""
        return LlamaVocabulary(self._engine, self._engine.open(path, vocabulary_only=True))


class LlamaVocabulary:
    """Ids and texts, many at a time. Freed with the process."""

    def __init__(self, engine: LlamaCpp, model: int) -> None:
        self._library = engine.library
        self._vocab = self._library.llama_model_get_vocab(model)
        self._piece = ctypes.create_string_buffer(64)
        self._chat: LlamaChat | None = None
        n_tokens = self._library.llama_vocab_n_tokens(self._vocab)
        bos = self._special("bos")
        self.facts = Facts(n_tokens, 0, bos, self._library.llama_vocab_get_add_bos(self._vocab))

    def describe(self) -> Vocabulary:
        found = {name: self._special(name) for name in SPECIAL_TOKENS}
        special = {name: token for name, token in found.items() if token is not None}
        kind = KINDS.get(self._library.llama_vocab_type(self._vocab), "another")
        adds = {
            name: bool(getattr(self._library, f"llama_vocab_get_add_{name}")(self._vocab))
            for name in ADDED_TOKENS
        }
        ends = [
            token
            for token in range(self.facts.n_vocab)
            if self._library.llama_vocab_is_control(self._vocab, token)
            and self._library.llama_vocab_is_eog(self._vocab, token)
        ]
        return Vocabulary(kind, self.facts.n_vocab, special, adds, ends[:64])

    def _special(self, name: str) -> int | None:
        token = int(getattr(self._library, f"llama_vocab_{name}")(self._vocab))
        return token if 0 <= token < self._library.llama_vocab_n_tokens(self._vocab) else None

    def encode(self, texts: Sequence[str], *, special: bool, parse: bool) -> list[list[int]]:
        return [self._encode(text.encode(), special, parse) for text in texts]

    def _encode(self, data: bytes, special: bool, parse: bool) -> list[int]:
        ids = (c_int32 * (len(data) + 8))()
        n = self._library.llama_tokenize(self._vocab, data, len(data), ids, len(ids), special, parse)
        if n < 0:
            raise EngineError("decode-failed", f"{len(data)} bytes of text became {-n} tokens")
        return list(ids[:n])

    def decode(self, batches: Sequence[Sequence[int]]) -> list[str]:
        """The pieces put together byte by byte: llama_detokenize would also tidy spaces before punctuation."""
        return [b"".join(map(self._bytes, ids)).decode("utf-8", "replace") for ids in batches]

    def _bytes(self, token: int) -> bytes:
        if not 0 <= token < self.facts.n_vocab:
            raise EngineError(
                "decode-failed", f"a token id is outside the vocabulary of {self.facts.n_vocab}"
            )
        n = self._write_piece(token)
        if -MAX_PIECE_BYTES <= n < 0:
            self._piece = ctypes.create_string_buffer(-n)
            n = self._write_piece(token)
        return self._piece.raw[: max(n, 0)]

    def _write_piece(self, token: int) -> int:
        piece = self._piece
        return int(self._library.llama_token_to_piece(self._vocab, token, piece, len(piece), 0, True))

    def render(
        self, template: str, conversations: Sequence[dict[str, Any]], variables: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """As LlamaChat.render. Raises EngineError `engine-mismatch` if this build's templates cannot be reached."""
        if self._chat is None:
            self._chat = LlamaChat(self._library)
            self._chat.prove()
        return self._chat.render(template, conversations, variables)


def start(threads: int) -> LlamaVocabularyEngine:
    return LlamaVocabularyEngine(threads)
