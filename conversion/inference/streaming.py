"""A model larger than memory in llama.cpp: windows side by side in one batch, each weight read once for all of them.

Every window is a sequence of its own with a cache of its own, so that none sees another; the arithmetic of a position
is the one it has in a batch of its window alone. `paging.Pager` bounds what is resident. There is no context until the
first pass, since its size is that of the pass.

Loaded in the sandbox's child only.
"""

import ctypes
from collections.abc import Sequence
from ctypes import c_float

from conversion.inference.engine import EngineError
from conversion.inference.llamacpp import FLASH_ATTENTION_OFF, LlamaCpp, LlamaModel
from conversion.inference.paging import Pager

MAX_SEQUENCES = 256
"""llama.h: LLAMA_MAX_SEQ."""

Passage = tuple[list[int], int]
"""Token ids, and the first position whose logits are wanted."""


class StreamedModel(LlamaModel):
    """A model whose weights are let go of as they are used. Every call of `logits` costs a read of the whole file."""

    def __init__(self, engine: LlamaCpp, model: int, pager: Pager) -> None:
        super().__init__(engine, model)
        self._pager, self._shape = pager, (0, 0, 0)
        pager.look()

    def open_context(self, *, embeddings: bool = False) -> int:
        return 0  # made by the first pass

    def logits(self, ids: Sequence[int], *, first: int, extend: bool) -> memoryview:
        if extend:
            raise EngineError("decode-failed", "a model that is streamed keeps nothing to be continued")
        return self.logits_of([(list(ids), first)])

    def logits_of(self, passages: Sequence[Passage]) -> memoryview:
        """Bytes of float32 logits, row-major, of all wanted positions of the passages, in order; one pass."""
        self._check_passages(passages)
        n_outputs = sum(len(ids) - first for ids, first in passages)
        self._open_pass(len(passages), max(len(ids) for ids, _ in passages), n_outputs)
        self._fill_all(passages)
        code = self.library.llama_decode(self._context, self.batch)
        self._pager.check()
        rows = self.library.llama_get_logits(self._context)
        if code != 0 or not rows:
            errors = " · ".join(self.engine.log.take_errors())
            raise EngineError("decode-failed", f"llama.cpp's decode returned {code}. {errors}".strip())
        return memoryview((c_float * (n_outputs * self.facts.n_vocab)).from_address(rows)).cast("B")

    def _check_passages(self, passages: Sequence[Passage]) -> None:
        if not 0 < len(passages) <= MAX_SEQUENCES:
            raise EngineError("decode-failed", f"{len(passages)} windows at once; 1 to {MAX_SEQUENCES} fit")
        for ids, first in passages:
            self.check_ids(ids, first)

    def _open_pass(self, n_sequences: int, length: int, n_outputs: int) -> None:
        """A context for exactly this; the last one is used again where it fits."""
        if self._shape == (n_sequences, length, n_outputs):
            self.library.llama_memory_clear(self.library.llama_get_memory(self._context), True)
            return
        if self._context:
            self.library.llama_free(self._context)
            self._context = 0
        self.library.llama_batch_free(self.batch)
        self.batch = self.library.llama_batch_init(n_sequences * length, 0, 1)
        self._context = self._new_context(n_sequences, length, n_outputs)
        self._shape = (n_sequences, length, n_outputs)

    def _new_context(self, n_sequences: int, length: int, n_outputs: int) -> int:
        params = self.library.llama_context_default_params()
        params.n_seq_max = n_sequences
        params.n_ctx = n_sequences * -(-length // 256) * 256  # llama.cpp rounds each sequence up to as much
        params.n_batch = params.n_ubatch = n_sequences * length
        params.n_outputs_max = n_outputs
        params.n_outputs_max_per_seq = min(n_outputs, length)
        params.n_threads = params.n_threads_batch = self.engine.threads
        params.flash_attn_type = FLASH_ATTENTION_OFF
        params.cb_eval = ctypes.cast(self._pager.callback, ctypes.c_void_p)
        return self._made_context(params)

    def _fill_all(self, passages: Sequence[Passage]) -> None:
        batch, index = self.batch, 0
        for sequence, (ids, first) in enumerate(passages):
            for position, token in enumerate(ids):
                batch.token[index], batch.pos[index] = token, position
                batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
                batch.logits[index] = position >= first
                index += 1
        batch.n_tokens = index
