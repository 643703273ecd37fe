"""The architectures whose GGUFs become checkpoints again: GGUF's name of it -> how. A new one is one line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from conversion.naming.restoring import gemma, gpt2, llama, qwen
from conversion.naming.restoring.held import Held

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Restorer:
    """names: GGUF's stem of a tensor -> Hugging Face's; `{}` is the layer, `{expert}` each expert of a stack.

    Each stem must have its weight in every layer, but for the output, which may be the embedding.
    config: what config.json says. shape: a tensor's Hugging Face name and stored shape to its shape there.
    """

    names: Callable[[Held], Mapping[str, str]]
    config: Callable[[Held], dict[str, Any]]
    shape: Callable[[str, Shape], Shape] = lambda name, stored: stored


RESTORERS: dict[str, Restorer] = {
    "llama": Restorer(llama.names, llama.config),
    "qwen2": Restorer(lambda held: llama.NAMES, qwen.qwen2),
    "qwen3": Restorer(lambda held: qwen.QWEN3_NAMES, qwen.qwen3),
    "qwen2moe": Restorer(lambda held: qwen.QWEN2_MOE_NAMES, qwen.qwen2_moe, qwen.shape),
    "qwen3moe": Restorer(lambda held: qwen.QWEN3_MOE_NAMES, qwen.qwen3_moe),
    "gemma": Restorer(lambda held: llama.NAMES, gemma.gemma),
    "gemma2": Restorer(lambda held: gemma.GEMMA2_NAMES, gemma.gemma2),
    "gemma3": Restorer(lambda held: gemma.GEMMA3_NAMES, gemma.gemma3),
    "gpt2": Restorer(lambda held: gpt2.NAMES, gpt2.config, gpt2.shape),
}
