"""The architectures whose GGUFs become checkpoints again: GGUF's name of it -> how. A new one is one line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from conversion.naming.restoring import gemma, gpt2, like_llama, llama, older, qwen
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
    "smollm3": Restorer(lambda held: llama.NAMES, like_llama.smollm3),
    "granite": Restorer(lambda held: llama.NAMES, like_llama.granite),
    "olmo2": Restorer(lambda held: like_llama.OLMO2_NAMES, like_llama.olmo2),
    "stablelm": Restorer(lambda held: llama.NAMES, like_llama.stablelm),
    "phi3": Restorer(lambda held: like_llama.PHI3_NAMES, like_llama.phi3),
    "gptneox": Restorer(lambda held: older.GPT_NEOX_NAMES, older.gpt_neox),
    "falcon": Restorer(older.falcon_names, older.falcon),
    "gpt2": Restorer(lambda held: gpt2.NAMES, gpt2.config, gpt2.shape),
}
