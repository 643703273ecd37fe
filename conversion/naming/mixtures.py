"""Mixtures: the type llama-quantize gives a tensor of a file type such as Q4_K_M, by what the tensor is for.

(llama.cpp 82bb48500, src/llama-quant.cpp: llama_tensor_get_type_impl.) The recorded choices of `llama-quantize
--dry-run` for 34 file types and ten models are reproduced exactly. The rules follow what that function does, not what
it says: its rule for fused QKV can never be reached, since V-like tensors are met first.

A tensor is a *category* (what its name says it is for) and an *index* (how many of its category came before it, in
llama-quantize's order; in models with experts the number of its layer).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

V, K, Q, ATTENTION_OUTPUT = "v", "k", "q", "attention_output"
DOWN, GATE, UP = "down", "gate", "up"
EMBEDDING, OUTPUT, OTHER = "embedding", "output", "other"

CATEGORIES: tuple[tuple[str, str], ...] = (
    ("attn_qkv.weight", V), ("attn_kv_b.weight", V), ("attn_v.weight", V), ("attn_k.weight", K), ("attn_q.weight", Q),
    ("attn_output.weight", ATTENTION_OUTPUT), ("ffn_up", UP), ("ffn_gate", GATE), ("ffn_down", DOWN),
)  # fmt: skip
"""Part of a name -> category; the first that is found."""

BY_NAME = {"output.weight": OUTPUT, "token_embd.weight": EMBEDDING, "per_layer_token_embd.weight": EMBEDDING}
LAYERS_OF_70B = {"qwen2": 80, "deci": 80, "olmo": 80, "jais2": 68}
"""Architectures whose models of so many layers llama.cpp calls 70B; Llama asks for shared heads as well."""

TWO_BITS = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M")
_LAYER = re.compile(r"blk\.(\d{1,9})\.")


@dataclass(frozen=True)
class ModelFacts:
    """What the rules ask of a model: its architecture, and five numbers from its metadata."""

    architecture: str = "llama"
    n_layers: int = 0
    n_heads: int = 0
    n_kv_heads: int = 0
    n_experts: int = 0

    @property
    def heads_per_kv(self) -> int:
        return self.n_heads // self.n_kv_heads if self.n_kv_heads else 0

    @property
    def is_70b(self) -> bool:
        if self.architecture == "llama":
            return self.n_layers == 80 and self.n_experts != 8 and self.n_heads != self.n_kv_heads
        return LAYERS_OF_70B.get(self.architecture) == self.n_layers

    @classmethod
    def of(cls, get: Callable[[str], Any]) -> "ModelFacts":
        """The facts in a file's metadata; `get` gives the value of a key or None. Per-layer lists count by layer 0."""
        architecture = str(get("general.architecture") or "")

        def number(key: str, default: int = 0) -> int:
            value = get(f"{architecture}.{key}")
            first = value[0] if isinstance(value, list | tuple) and value else value
            return first if type(first) is int else default

        n_heads = number("attention.head_count")
        n_kv_heads = number("attention.head_count_kv", n_heads)
        return cls(architecture, number("block_count"), n_heads, n_kv_heads, number("expert_count"))


@dataclass
class Mixture:
    """The rules of one file type on one model; `choose` is called for each tensor in llama-quantize's order.

    `default` is the type that most tensors get; `n_values` counts the model's V-like tensors.
    """

    file_type: str
    default: str
    model: ModelFacts
    n_values: int
    is_tied: bool
    has_imatrix: bool = False
    output_type: str = ""
    embedding_type: str = ""
    _met: dict[str, int] = field(default_factory=dict)

    def choose(self, name: str, shape: tuple[int, ...], default_block: int) -> str:
        """The type of the next tensor, before its shape is looked at (but for the output's)."""
        category = category_of(name)
        if category == OUTPUT or (self.is_tied and category == EMBEDDING):
            return self._output(shape[-1] % default_block == 0)
        if self.file_type == "MXFP4_MOE":
            return "MXFP4" if len(shape) > 2 and shape[-3] > 1 else "Q8_0"
        if category == EMBEDDING:
            return self.embedding_type or EMBEDDING_TYPES.get(self.file_type, self.default)
        met = self._met.get(category, 0)
        self._met[category] = met + 1
        if self.file_type in TWO_BITS:
            return self._two_bits(category, met)
        rule = _RULES.get(category)
        return rule(self, self._index(category, met, name)) if rule else self.default

    def _index(self, category: str, met: int, name: str) -> int:
        if self.model.n_experts > 1 and category in {DOWN, GATE, UP} and (found := _LAYER.match(name)):
            return int(found[1])
        return met

    def _output(self, is_divisible: bool) -> str:
        if self.output_type:
            return self.output_type
        if self.file_type == "MXFP4_MOE" or self.model.architecture == "falcon" or not is_divisible:
            return "Q8_0"
        if self.file_type in {*TWO_BITS, "IQ3_XXS"}:
            return "Q5_K"
        return "Q8_0" if self.default == "Q8_0" else "Q6_K"

    def _two_bits(self, category: str, met: int) -> str:
        better = "IQ3_S" if self.file_type in {"IQ2_S", "IQ2_M"} else "Q2_K"
        if category == V:
            return "Q4_K" if self.model.heads_per_kv >= 4 or self.model.n_experts >= 4 else better
        if category == K and self.model.n_experts == 8:
            return "Q4_K"
        if category == DOWN:
            return better if met < self.model.n_layers // 8 else self.default
        if category == ATTENTION_OUTPUT:
            if self.model.n_experts == 8:
                return "Q5_K"
            return {"IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S"}.get(
                self.file_type, self.default
            )
        return self.default


EMBEDDING_TYPES: Mapping[str, str] = {
    "IQ2_XXS": "Q2_K", "IQ2_XS": "Q2_K", "IQ1_S": "Q2_K", "IQ1_M": "Q2_K", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S",
    "IQ3_XXS": "IQ3_S", "TQ1_0": "Q4_K", "TQ2_0": "Q4_K", "Q2_0": "Q4_K",
}  # fmt: skip


def category_of(name: str) -> str:
    """What a tensor is for, by its GGUF name."""
    if name in BY_NAME:
        return BY_NAME[name]
    return next((category for part, category in CATEGORIES if part in name), OTHER)


def layer_of(name: str) -> int:
    """The layer a GGUF name belongs to, or -1."""
    found = _LAYER.match(name)
    return int(found[1]) if found else -1


def takes_more_bits(index: int, count: int) -> bool:
    """The first and last eighth of the layers, and every third between them."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


def _values(mixture: Mixture, index: int) -> str:
    model = mixture.model
    if model.n_experts == 8:
        return "Q8_0"
    chosen = _plain_values(mixture, index, model.heads_per_kv >= 4)
    return "Q5_K" if model.is_70b and chosen in {"Q3_K", "Q4_K"} else chosen


def _plain_values(mixture: Mixture, index: int, is_shared: bool) -> str:
    """`is_shared`: four or more heads share each V, so it is small and worth more bits."""
    kind = mixture.file_type
    if is_shared and kind in {"Q2_K", "Q2_K_S", "IQ3_XXS", "IQ3_XS", "IQ3_S"}:
        return "Q4_K"
    if is_shared and kind in {"IQ4_NL", "IQ4_XS"}:
        return "Q5_K"
    if kind == "IQ3_XXS":
        return "IQ3_XXS" if mixture.has_imatrix else "IQ3_S"
    if kind in {"Q4_K_M", "Q5_K_M"} and takes_more_bits(index, mixture.n_values):
        return "Q6_K"
    if (kind == "Q3_K_M" and index < 2) or (kind == "Q4_K_S" and index < 4):
        return "Q5_K"
    return {"Q2_K": "Q3_K", "IQ3_M": "Q4_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(kind, mixture.default)


def _keys(mixture: Mixture, index: int) -> str:
    return "Q8_0" if mixture.model.n_experts == 8 else _queries(mixture, index)


def _queries(mixture: Mixture, index: int) -> str:
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mixture.file_type, mixture.default)


def _down(mixture: Mixture, index: int) -> str:
    kind, count = mixture.file_type, mixture.model.n_layers
    is_early, more = index < count // 8, takes_more_bits(index, count)
    if mixture.model.architecture == "falcon" and kind in {"Q3_K_M", "Q3_K_L", "Q4_K_M", "Q4_K_S"}:
        return _down_of_falcon(mixture, index < count // 16, more)
    if kind == "Q3_K_M":
        return "Q5_K" if index < count // 16 else "Q4_K"
    if kind == "IQ3_XXS" and not mixture.has_imatrix:
        return "Q4_K" if is_early else "Q3_K"
    if kind in {"Q4_K_M", "Q5_K_M"} and more:
        return "Q6_K"
    if kind == "IQ3_M" and mixture.model.n_experts == 8 and more:
        is_early = True
    if is_early and (early := _EARLY_DOWN.get((kind, mixture.has_imatrix))):
        return early
    return {"Q2_K": "Q3_K", "Q3_K_L": "Q5_K"}.get(kind, mixture.default)


def _down_of_falcon(mixture: Mixture, is_first: bool, more: bool) -> str:
    if mixture.file_type == "Q3_K_M":
        return "Q5_K" if is_first else "Q4_K" if more else "Q3_K"
    if mixture.file_type == "Q4_K_M":
        return "Q6_K" if is_first else "Q5_K" if more else "Q4_K"
    return "Q4_K"


_EARLY_DOWN: Mapping[tuple[str, bool], str] = {
    ("Q2_K_S", False): "Q4_K", ("Q2_K_S", True): "Q4_K",
    ("Q4_K_S", False): "Q5_K", ("Q4_K_S", True): "Q5_K",
    ("IQ3_M", False): "Q4_K", ("IQ3_M", True): "Q4_K",
    ("IQ4_NL", False): "Q5_K", ("IQ4_XS", False): "Q5_K",
    ("Q4_0", True): "Q4_1", ("Q5_0", True): "Q5_1",
}  # fmt: skip
"""The first eighth of the layers: (file type, whether there is an imatrix) -> type."""


def _attention_output(mixture: Mixture, index: int) -> str:
    kind = mixture.file_type
    if mixture.model.architecture == "falcon":
        return "Q4_K" if kind == "Q3_K_L" else mixture.default
    if mixture.model.n_experts == 8:
        return "Q5_K" if kind in _BETTER_BESIDE_EXPERTS else mixture.default
    return {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}.get(
        kind, mixture.default
    )


_BETTER_BESIDE_EXPERTS = {
    "Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ3_S", "IQ3_M", "IQ4_XS",
}  # fmt: skip


def _gate_and_up(mixture: Mixture, index: int) -> str:
    count = mixture.model.n_layers
    is_middle = count // 8 <= index < 7 * count // 8
    return "IQ3_XXS" if mixture.file_type == "IQ3_XS" and is_middle else mixture.default


_RULES: Mapping[str, Callable[[Mixture, int], str]] = {
    V: _values, K: _keys, Q: _queries, DOWN: _down, ATTENTION_OUTPUT: _attention_output, GATE: _gate_and_up,
    UP: _gate_and_up,
}  # fmt: skip
