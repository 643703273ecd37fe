"""Embedding models by the reference implementation: transformers on torch, float32 arithmetic. Optional.

Vectors of all tokens come from the encoder; how they become one is what sentence-transformers' files beside the weights
say (mean, first or last token). Without such files every token's vector is given. No code of a repository is ever run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf

from conversion.inference.engine import Embedding, EngineError, Facts
from conversion.inference.transformers import Transformers
from conversion.naming.base import NamingError
from conversion.naming.bert import read_pooling

POOLING = {gguf.PoolingType.MEAN: "mean", gguf.PoolingType.CLS: "cls", gguf.PoolingType.LAST: "last"}
UNKNOWN = ("does not recognize this architecture", "trust_remote_code", "Unrecognized model")


class TransformersEmbeddings(Transformers):
    """The engine."""

    def load(self, path: str) -> "TransformersEmbedder":  # type: ignore[override]  # another kind of model
        """The checkpoint in the folder `path`. Raises EngineError with transformers' own words."""
        options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        auto = self.transformers
        try:
            pooling = read_pooling(Path(path))
            tokenizer = auto.AutoTokenizer.from_pretrained(path, **options)
            model = auto.AutoModel.from_pretrained(
                path, dtype=self.torch.float32, use_safetensors=True, **options
            )
        except NamingError as error:
            raise EngineError("unsupported-architecture", str(error)) from error
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError) as error:
            is_unknown = any(words in str(error) for words in UNKNOWN)
            code = "unsupported-architecture" if is_unknown else "load-refused"
            raise EngineError(code, f"transformers refused it: {str(error)[:600]}") from error
        named = POOLING[pooling] if pooling is not None else "none"
        return TransformersEmbedder(self, model.eval(), tokenizer, named)


class TransformersEmbedder:
    """An encoder, its tokenizer and its pooling. It has no logits that anybody compares."""

    def __init__(self, engine: Transformers, model: Any, tokenizer: Any, pooling: str) -> None:
        self._engine, self._model, self._tokenizer, self._pooling = engine, model, tokenizer, pooling
        config = model.config
        self.facts = Facts(
            n_vocab=int(config.vocab_size),
            n_context=min(int(getattr(config, "max_position_embeddings", 0) or 512), 512),
            bos_id=tokenizer.bos_token_id,
            adds_bos=True,
            description=f"{config.model_type} in float32",
        )

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=special)["input_ids"])

    def detokenize(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def is_end(self, token: int) -> bool:
        return bool(token == self._tokenizer.sep_token_id)

    def logits(self, ids: Sequence[int], *, first: int, extend: bool) -> memoryview:
        raise EngineError("decode-failed", "an embedding model has no logits")

    def embed(self, ids: Sequence[int]) -> Embedding:
        torch = self._engine.torch
        try:
            rows = self._model(torch.tensor([list(ids)])).last_hidden_state[0].float()
        except (RuntimeError, IndexError, ValueError) as error:
            raise EngineError("decode-failed", f"transformers failed: {str(error)[:600]}") from error
        pooled = {"mean": rows.mean(dim=0), "cls": rows[0], "last": rows[-1]}
        found = pooled[self._pooling][None] if self._pooling in pooled else rows
        return Embedding(found.numpy().tobytes(), len(found), found.shape[1], self._pooling)


def start(threads: int) -> TransformersEmbeddings:
    return TransformersEmbeddings(threads)
