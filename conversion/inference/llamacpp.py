"""llama.cpp: loads a GGUF and gives the logits of every position, which its server interface does not.

Settings are fixed so that two runs on one machine give the same figures: no cache between calls, the whole of a
window in one batch, one thread unless told otherwise, no repacking of weights, no GPU layers, flash attention
off, an F16 cache (llama.cpp's own default and what its published KL divergences were measured with).
"""

import ctypes
from collections.abc import Sequence
from ctypes import c_float, c_int32
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.inference.engine import Embedding, EngineError, EngineReport, Facts
from conversion.inference.installed import folder_of, version_of
from conversion.inference.llama_api import (
    LOG_ERROR,
    PACKAGE,
    PINNED,
    ContextParams,
    LogCallback,
    open_library,
)
from conversion.inference.llama_embeddings import LlamaEmbedder

if TYPE_CHECKING:
    from conversion.inference.activations import Observer
    from conversion.inference.paging import Pager

MAX_WINDOW = 512
"""Tokens of one call, and the context of every model we open: longer texts are judged by windows."""
MAX_LOG_LINES = 40
NO_MEMORY = ("bad_alloc", "annot allocate memory", "failed to allocate", "unable to allocate")
LOAD_MODE_MMAP, NO_GPU_LAYERS, FLASH_ATTENTION_OFF = 1, 0, 0


def library_path() -> Path:
    """The shared library inside the installed wheel. Raises EngineError `engine-missing`."""
    folder = folder_of(PACKAGE)
    found = sorted(folder.glob("xllamacpp*.so")) if folder else []
    if not found:
        raise EngineError("engine-missing", f"llama.cpp is not installed: `pip install {PACKAGE}=={PINNED}`")
    return found[0]


class Log:
    """The last lines that llama.cpp had to say; nothing reaches the terminal."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.callback = LogCallback(self._take)

    def _take(self, level: int, text: bytes | None, _: Any) -> None:
        line = (text or b"").decode("utf-8", "replace").strip()
        if level == LOG_ERROR and line and len(self.errors) < MAX_LOG_LINES:
            self.errors.append(line[:300])

    def take_errors(self) -> list[str]:
        errors, self.errors = self.errors, []
        return errors


class LlamaCpp:
    """The engine. The library's log and backend are global to the process, so there is one per process."""

    def __init__(self, threads: int) -> None:
        version = version_of(PACKAGE)
        self.library = open_library(str(library_path()))
        self.log = Log()
        self.library.llama_log_set(self.log.callback, None)
        self.library.llama_backend_init()
        self.threads = threads
        self.report = EngineReport(
            "llama.cpp",
            PACKAGE,
            version,
            library_version=self.library.llama_version().decode(),
            threads=threads,
            cpu_features=_cpu_features(self.library.llama_print_system_info().decode()),
        )
        if version != PINNED:
            raise EngineError(
                "engine-mismatch", f"{PACKAGE} {version} is installed, but {PINNED} is the one we tested"
            )

    def load(
        self, path: str, observer: "Observer | None" = None, pager: "Pager | None" = None
    ) -> "LlamaModel":
        """The model in the GGUF at `path`; refuses what is not a decoder. An observer sees every activation, and with
        a pager the weights need not fit into memory.

        Raises EngineError `load-refused` or `unsupported-architecture`, with what llama.cpp logged.
        """
        model = self.open(path)
        if self.library.llama_model_has_encoder(model):
            raise EngineError("unsupported-architecture", "encoder-decoder models are not judged yet")
        if pager is None:
            return LlamaModel(self, model, observer)
        from conversion.inference.streaming import StreamedModel

        return StreamedModel(self, model, pager)

    def open(self, path: str, *, vocabulary_only: bool = False) -> int:
        """llama.cpp's model of the GGUF at `path`, or of its vocabulary alone. Raises EngineError as `load` does."""
        params = self.library.llama_model_default_params()
        params.n_gpu_layers = NO_GPU_LAYERS
        params.load_mode = LOAD_MODE_MMAP
        params.use_extra_bufts = False
        params.vocab_only = vocabulary_only
        model = self.library.llama_model_load_from_file(path.encode(), params)
        if not model:
            raise _refused(self.log.take_errors())
        return int(model)


def _cpu_features(info: str) -> tuple[str, ...]:
    """The features that are on in llama.cpp's own line `CPU : SSE3 = 1 | AVX2 = 1 | …`."""
    pairs = (part.split("=") for part in info.replace(":", "|").split("|") if "=" in part)
    return tuple(sorted(name.strip() for name, value in pairs if value.strip() == "1"))


def _refused(errors: list[str]) -> EngineError:
    text = " · ".join(errors) or "no reason given"
    unknown = "unknown model architecture" in text or "unsupported model architecture" in text
    no_memory = any(words in text for words in NO_MEMORY)
    code = "unsupported-architecture" if unknown else "engine-out-of-memory" if no_memory else "load-refused"
    return EngineError(code, f"llama.cpp refused to load it: {text}", log=errors)


class LlamaModel:
    """A model and one context of at most `MAX_WINDOW` positions. Freed with the process."""

    def __init__(self, engine: LlamaCpp, model: int, observer: "Observer | None" = None) -> None:
        self.engine, self.library, self.handle, self._observer = engine, engine.library, model, observer
        self._vocab = self.library.llama_model_get_vocab(model)
        self.facts = self._read_facts()
        self._context = self.open_context()
        self.batch = self.library.llama_batch_init(self.window, 0, 1)
        self._position = 0
        self._embedder: LlamaEmbedder | None = None

    @property
    def window(self) -> int:
        return min(MAX_WINDOW, self.facts.n_context)

    def _read_facts(self) -> Facts:
        bos = self.library.llama_vocab_bos(self._vocab)
        text = ctypes.create_string_buffer(200)
        self.library.llama_model_desc(self.handle, text, len(text))
        n_vocab = self.library.llama_vocab_n_tokens(self._vocab)
        n_context = self.library.llama_model_n_ctx_train(self.handle)
        if n_vocab < 1 or n_context < 1:
            raise EngineError("load-refused", f"vocabulary of {n_vocab} and context of {n_context} tokens")
        return Facts(
            n_vocab=n_vocab,
            n_context=n_context,
            bos_id=bos if 0 <= bos < n_vocab else None,
            adds_bos=self.library.llama_vocab_get_add_bos(self._vocab),
            description=text.value.decode("utf-8", "replace"),
        )

    def open_context(self, *, embeddings: bool = False) -> int:
        params = self.library.llama_context_default_params()
        params.embeddings = embeddings
        params.n_ctx = params.n_batch = params.n_ubatch = self.window
        params.n_outputs_max = params.n_outputs_max_per_seq = self.window
        params.n_threads = params.n_threads_batch = self.engine.threads
        params.flash_attn_type = FLASH_ATTENTION_OFF
        if self._observer is not None:
            params.cb_eval = ctypes.cast(self._observer.callback, ctypes.c_void_p)
        return self._made_context(params)

    def _made_context(self, params: ContextParams) -> int:
        context = self.library.llama_init_from_model(self.handle, params)
        if not context:
            errors = self.engine.log.take_errors()
            raise EngineError("load-refused", "llama.cpp could not make a context: " + " · ".join(errors))
        return int(context)

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        data = text.encode()
        ids = (c_int32 * (len(data) + 8))()
        n = self.library.llama_tokenize(self._vocab, data, len(data), ids, len(ids), special, False)
        if n < 0:
            raise EngineError("decode-failed", f"{len(data)} bytes of text became {-n} tokens")
        return list(ids[:n])

    def detokenize(self, ids: Sequence[int]) -> str:
        array = (c_int32 * len(ids))(*ids)
        text = ctypes.create_string_buffer(64)
        n = self.library.llama_detokenize(self._vocab, array, len(ids), text, len(text), False, False)
        if n < 0:
            text = ctypes.create_string_buffer(-n)
            n = self.library.llama_detokenize(self._vocab, array, len(ids), text, len(text), False, False)
        return text.raw[: max(n, 0)].decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        return bool(self.library.llama_vocab_is_eog(self._vocab, token))

    def logits(self, ids: Sequence[int], *, first: int, extend: bool) -> memoryview:
        if not extend:
            self.library.llama_memory_clear(self.library.llama_get_memory(self._context), True)
            self._position = 0
        self.check_ids(ids, first, self._position)
        self.fill_batch(ids, first, self._position)
        code = self.library.llama_decode(self._context, self.batch)
        rows = self.library.llama_get_logits(self._context)
        if code != 0 or not rows:
            errors = " · ".join(self.engine.log.take_errors())
            raise EngineError("decode-failed", f"llama.cpp's decode returned {code}. {errors}".strip())
        self._position += len(ids)
        values = (c_float * ((len(ids) - first) * self.facts.n_vocab)).from_address(rows)
        return memoryview(values).cast("B")

    def embed(self, ids: Sequence[int]) -> Embedding:
        if self._embedder is None:
            self._embedder = LlamaEmbedder(self)
        return self._embedder.embed(ids)

    def add_adapter(self, path: str) -> None:
        """The LoRA adapter in the GGUF at `path` is applied to all that follows. EngineError `load-refused`."""
        adapter = self.library.llama_adapter_lora_init(self.handle, path.encode())
        if not adapter:
            raise _refused(self.engine.log.take_errors())
        adapters, scales = (ctypes.c_void_p * 1)(adapter), (c_float * 1)(1.0)
        if self.library.llama_set_adapters_lora(self._context, adapters, 1, scales) != 0:
            raise EngineError("load-refused", "llama.cpp loads the adapter but does not apply it")

    def check_ids(self, ids: Sequence[int], first: int = 0, position: int = 0) -> None:
        if not 0 <= first < len(ids) or position + len(ids) > self.window:
            raise EngineError(
                "decode-failed", f"{len(ids)} tokens at {position} do not fit a window of {self.window}"
            )
        if min(ids) < 0 or max(ids) >= self.facts.n_vocab:
            raise EngineError(
                "decode-failed", f"a token id is outside the vocabulary of {self.facts.n_vocab}"
            )

    def fill_batch(self, ids: Sequence[int], first: int = 0, position: int = 0) -> None:
        batch = self.batch
        batch.n_tokens = len(ids)
        for index, token in enumerate(ids):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index >= first


def start(threads: int) -> LlamaCpp:
    return LlamaCpp(threads)
