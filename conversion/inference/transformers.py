"""The reference implementation: transformers on torch, float32 arithmetic, one thread. Optional.

Loads the folder of a safetensors checkpoint (or a GGUF, which it dequantises). Never runs code from a
repository and never unpickles: `trust_remote_code=False`, `use_safetensors=True`, no network in the sandbox anyway.
"""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conversion.inference.engine import EngineError, EngineReport, Facts

UNKNOWN = ("does not recognize this architecture", "Unrecognized configuration class", "Unrecognized model",
           "trust_remote_code")  # fmt: skip
NOT_HERE = ("No GPU", "GPU is needed", "accelerator", "CUDA")


class Transformers:
    """The engine."""

    def __init__(self, threads: int) -> None:
        import torch
        import transformers

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self.torch, self.transformers = torch, transformers
        self.report = EngineReport(
            "transformers",
            "transformers",
            importlib.metadata.version("transformers"),
            library_version=f"torch {torch.__version__}",
            threads=threads,
            cpu_features=(str(torch.backends.cpu.get_cpu_capability()).lower(),),
        )

    def load(self, path: str) -> "TransformersModel":
        """The checkpoint in the folder `path`, all of it: transformers would make up weights that are missing.

        Raises EngineError with transformers' own words: `load-refused`, `unsupported-architecture` for what it does not
        know or would have to run code of the repository for, `engine-missing` for a package or device that is not here.
        """
        place = Path(path)
        folder = path if place.is_dir() else str(place.parent)
        options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        options |= {} if place.is_dir() else {"gguf_file": place.name}
        weights = {"use_safetensors": True} if place.is_dir() else {}
        auto = self.transformers
        try:
            model, found = auto.AutoModelForCausalLM.from_pretrained(
                folder, dtype=self.torch.float32, output_loading_info=True, **weights, **options
            )
            tokenizer = auto.AutoTokenizer.from_pretrained(folder, **options)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError) as error:
            raise EngineError(_code(error), f"transformers refused it: {str(error)[:600]}") from error
        if missing := sorted(map(str, found.get("missing_keys", ()))):
            raise EngineError(
                "load-refused",
                f"{len(missing)} weights are missing, first {missing[0][:200]}",
                missing=missing[:20],
            )
        return TransformersModel(self, model.eval(), tokenizer)


def _code(error: Exception) -> str:
    """What a refusal is about: the engine, this machine, or the checkpoint."""
    text = str(error)
    if any(words in text for words in UNKNOWN):
        return "unsupported-architecture"
    return (
        "engine-missing"
        if isinstance(error, ImportError) or any(words in text for words in NOT_HERE)
        else "load-refused"
    )


class TransformersModel:
    """A model whose every call computes all of its window, so that no rounding depends on the call before.

    Only a text that is extended token by token is continued from the keys and values of the previous call.
    """

    def __init__(self, engine: Transformers, model: Any, tokenizer: Any) -> None:
        self._engine, self._model, self._tokenizer = engine, model, tokenizer
        self._past: Any = None
        config = model.config
        bos = tokenizer.bos_token_id
        begins = self._tokenizer("a")["input_ids"][:1] == [bos]
        self.facts = Facts(
            n_vocab=int(model.get_output_embeddings().weight.shape[0]),
            n_context=int(getattr(config, "max_position_embeddings", 0) or 2048),
            bos_id=bos,
            adds_bos=bool(begins),
            description=f"{config.model_type} in float32",
        )

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=special)["input_ids"])

    def detokenize(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def is_end(self, token: int) -> bool:
        ends = self._model.generation_config.eos_token_id
        return token in (ends if isinstance(ends, list) else [ends])

    def logits(self, ids: Sequence[int], *, first: int, extend: bool) -> memoryview:
        torch, past = self._engine.torch, self._past if extend else None
        try:
            output = self._model(torch.tensor([list(ids)]), past_key_values=past, use_cache=True)
        except (RuntimeError, IndexError, ValueError) as error:
            raise EngineError("decode-failed", f"transformers failed: {str(error)[:600]}") from error
        self._past = output.past_key_values
        rows = output.logits[0, first:]
        return memoryview(rows.float().numpy().tobytes())


def start(threads: int) -> Transformers:
    return Transformers(threads)
