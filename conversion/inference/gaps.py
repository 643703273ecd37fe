"""What is missing from a model, by names and shapes alone: whole layers, tensors of a layer, rows of the vocabulary.

Names and shapes are GGUF's (row-major) and hyperparameters those of GGUF metadata; a checkpoint is seen through its
family's naming plan, so that both containers are asked the same. Which tensors a layer must have is known of the
architectures in `UNIFORM`, whose layers are all alike; of others only whole layers and the vocabulary are looked at.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conversion.formats.weights import Weights
from conversion.naming import family_for
from conversion.naming.base import Config, Shapes
from conversion.naming.collecting import collected, new_collector

UNIFORM = frozenset({
    "llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "granite", "granitemoe", "smollm3", "olmo", "olmo2", "olmoe",
    "stablelm", "gemma", "gemma2", "gemma3", "phi3", "gpt-oss", "gpt2", "gptneox", "falcon",
})  # fmt: skip

IN_EVERY_LAYER: tuple[tuple[str, ...], ...] = (
    ("attn_q.weight", "attn_qkv.weight"),
    ("attn_k.weight", "attn_qkv.weight"),
    ("attn_v.weight", "attn_qkv.weight"),
    ("attn_output.weight",),
    ("ffn_up.weight", "ffn_up_exps.weight"),
    ("ffn_down.weight", "ffn_down_exps.weight"),
)
"""One of each group."""

WITHOUT_OUTPUT_NORM = frozenset({"olmo"})
"""Their norms have no weights."""

EMBEDDING, OUTPUT, OUTPUT_NORM = "token_embd.weight", "output.weight", "output_norm.weight"
_LAYER = re.compile(r"blk\.(\d{1,6})\.(.+)")


@dataclass
class Gaps:
    """Each as a sentence that names the tensor; at most all of them."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    @property
    def code(self) -> str:
        """Of the first kind of gap there is; "" when nothing is wrong."""
        kinds = {
            "tensor-missing": self.missing,
            "tensor-unexpected": self.unexpected,
            "tensor-shape": self.misshapen,
        }
        return next((code for code, found in kinds.items() if found), "")

    @property
    def sentences(self) -> list[str]:
        return [*self.missing, *self.unexpected, *self.misshapen]


@dataclass(frozen=True)
class Outline:
    """A model's tensors by GGUF name, and what its header says of their number and size (`get`, by the last of a key).

    `n_tokens` is the length of the vocabulary where it is in the header.
    """

    architecture: str
    shapes: Shapes
    metadata: Mapping[str, Any]
    n_tokens: int | None = None

    def get(self, key: str) -> int | None:
        """A count that is one for all layers; None where there is none, or one for each layer."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if type(value) is int else None


def outline_of_checkpoint(weights: Weights, config: Config) -> Outline:
    """A checkpoint through its family's plan. Raises NamingError for tensors and settings that the family refuses."""
    family = family_for(config)
    targets = family.targets(config, {name: entry.shape for name, entry in weights.entries.items()})
    writer = new_collector(family.gguf_architecture)
    if family.describe_first is not None:
        family.describe_first(config, writer)
    family.describe(config, 0, writer)
    metadata = {key: value.value for key, value in collected(writer).items()}
    return Outline(family.gguf_architecture, {target.name: target.shape for target in targets}, metadata)


def find_gaps(outline: Outline) -> Gaps:
    """Whatever is missing, of another shape than announced, or in a layer that is not announced."""
    gaps = Gaps()
    layers = _layers(outline.shapes)
    _check_layers(outline, layers, gaps)
    if outline.architecture in UNIFORM:
        _check_tensors(outline, layers, gaps)
        _check_shapes(outline, layers, gaps)
    _check_vocabulary(outline, gaps)
    return gaps


def _layers(shapes: Shapes) -> dict[int, dict[str, tuple[int, ...]]]:
    """Layer -> the rest of a tensor's name -> shape."""
    layers: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        if match := _LAYER.fullmatch(name):
            layers.setdefault(int(match[1]), {})[match[2]] = shape
    return layers


def _check_layers(outline: Outline, layers: Mapping[int, Any], gaps: Gaps) -> None:
    announced = outline.get("block_count")
    if announced is None:
        return
    beyond = sorted(layer for layer in layers if layer >= announced)
    n_there = len(layers) - len(beyond)
    if n_there < announced:
        # The number may be absurd: the first absent layer is found without counting to it.
        first = next(layer for layer in range(n_there + 1) if layer not in layers)
        gaps.missing.append(f"{announced} layers are announced, {n_there} are there: none of layer {first}")
    if beyond:
        gaps.unexpected.append(
            f"{announced} layers are announced, but there are tensors of layer {beyond[0]}"
        )


def _check_tensors(outline: Outline, layers: Mapping[int, Mapping[str, Any]], gaps: Gaps) -> None:
    needed = [EMBEDDING, *([] if outline.architecture in WITHOUT_OUTPUT_NORM else [OUTPUT_NORM])]
    gaps.missing += [f"there is no {name}" for name in needed if name not in outline.shapes]
    usual = Counter(name for tensors in layers.values() for name in tensors)
    for layer, tensors in sorted(layers.items()):
        absent = [group[0] for group in IN_EVERY_LAYER if not any(name in tensors for name in group)]
        absent += [
            name
            for name, n in usual.items()
            if n * 2 > len(layers) and name not in tensors and name not in absent
        ]
        gaps.missing += [f"layer {layer} has no {name}" for name in absent]


def _check_shapes(outline: Outline, layers: Mapping[int, Mapping[str, tuple[int, ...]]], gaps: Gaps) -> None:
    expected = {name: of(outline) for name, of in SHAPES.items()}
    for layer, tensors in sorted(layers.items()):
        for name, shape in tensors.items():
            wanted = expected.get(name)
            if name == "ffn_up.weight" and "ffn_gate.weight" not in tensors:
                continue  # some hold both in one
            if wanted and None not in wanted and shape != wanted:
                gaps.misshapen.append(f"blk.{layer}.{name} is {_times(shape)}, not {_times(wanted)}")
    n_embd = outline.get("embedding_length")
    for name in (EMBEDDING, OUTPUT, OUTPUT_NORM):
        found = outline.shapes.get(name)
        if found and n_embd and found[-1] != n_embd:
            gaps.misshapen.append(f"{name} is {_times(found)}, but the model is {n_embd} wide")


def _check_vocabulary(outline: Outline, gaps: Gaps) -> None:
    n_tokens = outline.n_tokens or outline.get("vocab_size")
    if n_tokens is None:
        return
    for name in (EMBEDDING, OUTPUT):
        shape = outline.shapes.get(name)
        if shape and shape[0] != n_tokens:
            gaps.misshapen.append(f"{name} has {shape[0]} rows for {n_tokens} tokens")


def _times(shape: tuple[int | None, ...]) -> str:
    return " x ".join(map(str, shape)) or "a scalar"


def _product(outline: Outline, heads: str, length: str) -> int | None:
    n_heads, n_embd, every = (
        outline.get(heads),
        outline.get("embedding_length"),
        outline.get("attention.head_count"),
    )
    size = outline.get(length) or (n_embd // every if n_embd and every else None)
    return n_heads * size if n_heads and size else None


def _q(outline: Outline) -> int | None:
    return _product(outline, "attention.head_count", "attention.key_length")


def _k(outline: Outline) -> int | None:
    return _product(outline, "attention.head_count_kv", "attention.key_length")


def _v(outline: Outline) -> int | None:
    return _product(outline, "attention.head_count_kv", "attention.value_length")


def _o(outline: Outline) -> int | None:
    return _product(outline, "attention.head_count", "attention.value_length")


def _width(outline: Outline) -> int | None:
    return outline.get("embedding_length")


def _hidden(outline: Outline) -> int | None:
    return outline.get("feed_forward_length")


SHAPES: dict[str, Callable[[Outline], tuple[int | None, ...]]] = {
    "attn_q.weight": lambda of: (_q(of), _width(of)),
    "attn_k.weight": lambda of: (_k(of), _width(of)),
    "attn_v.weight": lambda of: (_v(of), _width(of)),
    "attn_output.weight": lambda of: (_width(of), _o(of)),
    "ffn_gate.weight": lambda of: (_hidden(of), _width(of)),
    "ffn_up.weight": lambda of: (_hidden(of), _width(of)),
    "ffn_down.weight": lambda of: (_width(of), _hidden(of)),
    "attn_norm.weight": lambda of: (_width(of),),
    "ffn_norm.weight": lambda of: (_width(of),),
}
"""Tensor of a layer -> its shape by the header; None in it where the header does not say."""
