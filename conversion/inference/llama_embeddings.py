"""Pooled embeddings by llama.cpp: one vector for a text, pooled as the file says.

A second context of the same model, since one that gives embeddings computes no logits for some architectures. Nothing
is cached from one text to the next.
"""

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

from conversion.inference.engine import Embedding, EngineError

if TYPE_CHECKING:
    from conversion.inference.llamacpp import LlamaModel

POOLING = {-1: "unspecified", 0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
"""enum llama_pooling_type."""

NONE, RANK = 0, 4


class LlamaEmbedder:
    """The embedding side of a loaded model."""

    def __init__(self, model: "LlamaModel") -> None:
        self._model, self._library = model, model.library
        self._context = model.open_context(embeddings=True)
        self._pooling = int(self._library.llama_pooling_type(self._context))

    def embed(self, ids: Sequence[int]) -> Embedding:
        """Raises EngineError `decode-failed`."""
        self._model.check_ids(ids)
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)
        self._model.fill_batch(ids)
        code = self._library.llama_decode(self._context, self._model.batch)
        if code != 0:
            raise self._failed(f"llama.cpp's decode returned {code}")
        n_rows = len(ids) if self._pooling == NONE else 1
        return Embedding(self._rows(n_rows), n_rows, self._width, POOLING.get(self._pooling, "unknown"))

    @property
    def _width(self) -> int:
        of = "llama_model_n_cls_out" if self._pooling == RANK else "llama_model_n_embd_out"
        return int(getattr(self._library, of)(self._model.handle))

    def _rows(self, n_rows: int) -> bytes:
        if self._pooling == NONE:
            address = self._library.llama_get_embeddings(self._context)
        else:
            address = self._library.llama_get_embeddings_seq(self._context, 0)
        if not address:
            raise self._failed("llama.cpp gave no embeddings")
        return ctypes.string_at(address, n_rows * self._width * 4)

    def _failed(self, what: str) -> EngineError:
        errors = " · ".join(self._model.engine.log.take_errors())
        return EngineError("decode-failed", f"{what}. {errors}".strip())
