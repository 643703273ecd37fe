"""LoRA adapters as PEFT saves them, and a base checkpoint with one merged in.

| file | what |
|---|---|
| adapter_config.json | peft_type LORA, r, lora_alpha, rank_pattern, alpha_pattern, use_rslora, fan_in_fan_out |
| adapter_model.safetensors | base_model.model.NAME.lora_A.weight (r, n_in), ….lora_B.weight (n_out, r) |
| | base_model.model.NAME.lora_embedding_A (r, n_vocab), ….lora_embedding_B (dim, r) |
| | base_model.model.NAME.weight of modules_to_save: takes the place of the base's |

Merged: W + scale * B A, with scale = alpha / r, or alpha / sqrt(r) with rsLoRA; computed in float32 and rounded once,
when it is written. (peft: tuners/lora/layer.py, get_delta_weight.) DoRA and other variants change more than this sum
and are refused by name.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.layout import TensorEntry
from conversion.formats.weights import Rows, Weights, n_rows

PREFIX = "base_model.model."
MAX_RANK = 65_536
MAX_PATTERNS = 4096
VARIANTS = ("use_dora", "use_qalora", "use_bdlora", "lora_bias", "layer_replication", "target_parameters")
_PAIR = re.compile(
    r"(?P<stem>.+?)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?:\.weight|\.default\.weight|\.default)?"
)


@dataclass(frozen=True)
class Pair:
    """What is added to one weight of the base: `scale` * B A. `a` and `b` name the adapter's tensors."""

    a: str
    b: str
    scale: float
    alpha: float
    is_embedding: bool = False


@dataclass(frozen=True)
class Adapter:
    """Pairs by the base's tensor name, and whole tensors that replace the base's."""

    weights: Weights = field(repr=False)
    alpha: float
    pairs: dict[str, Pair]
    replaced: dict[str, str]
    fan_in_fan_out: bool = False


def open_adapter(weights: Weights, config: Mapping[str, Any]) -> Adapter:
    """The adapter in these tensors. HeaderError: `lora-variant`, `lora-config`, `lora-pair` for what is no LoRA."""
    _check_variant(config)
    sides: dict[str, dict[str, str]] = {}
    replaced: dict[str, str] = {}
    embeddings: set[str] = set()
    for name in weights.entries:
        plain = name.removeprefix(PREFIX)
        if match := _PAIR.fullmatch(plain):
            base = f"{match['stem']}.weight"
            sides.setdefault(base, {})[match["side"]] = name
            if match["embedding"]:
                embeddings.add(base)
        elif ".base_layer." not in plain:
            replaced[plain.replace(".modules_to_save", "").replace(".default", "")] = name
    pairs = {base: _pair(weights, config, base, found, base in embeddings) for base, found in sides.items()}
    if not pairs:
        raise HeaderError("lora-pair", "there is no lora_A beside a lora_B here", "the adapter")
    transposed = config.get("fan_in_fan_out") is True
    return Adapter(weights, _number(config, "lora_alpha"), pairs, replaced, transposed)


def _check_variant(config: Mapping[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        kind = str(config.get("peft_type"))[:40]
        raise HeaderError("lora-variant", f"peft_type is {kind}; only LORA is read", "adapter_config.json")
    for key in VARIANTS:
        if config.get(key):
            raise HeaderError(
                "lora-variant", f"{key} is set: that is more than a low-rank sum", "adapter_config.json"
            )


def _pair(
    weights: Weights, config: Mapping[str, Any], base: str, found: Mapping[str, str], is_embedding: bool
) -> Pair:
    if set(found) != {"A", "B"}:
        raise HeaderError(
            "lora-pair", f"it has lora_{next(iter(found))} without the other", f"tensor {quoted(base)}"
        )
    a, b = weights.entries[found["A"]], weights.entries[found["B"]]
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1] or not 0 < a.shape[0] <= MAX_RANK:
        raise HeaderError(
            "lora-pair", f"shapes {a.shape} and {b.shape} are no low-rank pair", f"tensor {quoted(base)}"
        )
    module = base.removesuffix(".weight")
    alpha = _of_pattern(config, "alpha_pattern", module, _number(config, "lora_alpha"))
    rank = _of_pattern(config, "rank_pattern", module, float(a.shape[0]))
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") is True else rank)
    return Pair(found["A"], found["B"], scale, alpha, is_embedding)


def _number(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise HeaderError("lora-config", f"{key} must be a number, not {value!r:.60}", "adapter_config.json")
    return float(value)


def _of_pattern(config: Mapping[str, Any], key: str, module: str, otherwise: float) -> float:
    """Keys are names of modules from any dot on. PEFT takes them for patterns; we take them by their letters."""
    patterns = config.get(key) or {}
    if not isinstance(patterns, Mapping) or len(patterns) > MAX_PATTERNS:
        raise HeaderError(
            "lora-config", f"{key} must be an object of at most {MAX_PATTERNS} entries", "adapter_config.json"
        )
    for name in patterns:
        if module == name or module.endswith(f".{name}"):
            return _number(patterns, name)
    return otherwise


class MergedWeights:
    """A base checkpoint with an adapter merged in; what the adapter touches is F32, as computed."""

    def __init__(self, base: Weights, adapter: Adapter) -> None:
        self.base, self.adapter = base, adapter
        self.metadata = base.metadata
        self.entries = {name: self._entry(name, entry) for name, entry in base.entries.items()}
        for name, pair in adapter.pairs.items():
            self._check(name, pair)
        for name, own in adapter.replaced.items():
            if (
                base.entries.get(name, TensorEntry("", "", (), 0, 0)).shape
                != adapter.weights.entries[own].shape
            ):
                raise HeaderError(
                    "lora-base", "the base has no such tensor of that shape", f"tensor {quoted(own)}"
                )

    def _entry(self, name: str, entry: TensorEntry) -> TensorEntry:
        if name in self.adapter.replaced:
            own = self.adapter.weights.entries[self.adapter.replaced[name]]
            return TensorEntry(name, own.dtype, own.shape, entry.start, own.length)
        if name in self.adapter.pairs:
            return TensorEntry(name, "F32", entry.shape, entry.start, entry.n_elements * 4)
        return entry

    def _check(self, name: str, pair: Pair) -> None:
        entry = self.base.entries.get(name)
        if entry is None:
            raise HeaderError(
                "lora-base",
                "the adapter changes it, but the base has no such tensor",
                f"tensor {quoted(name)}",
            )
        a, b = (self.adapter.weights.entries[one].shape for one in (pair.a, pair.b))
        wanted = (a[1], b[0]) if self._is_turned(pair) else (b[0], a[1])
        if entry.shape != wanted:
            raise HeaderError(
                "lora-base", f"its shape is {entry.shape}, the adapter's {wanted}", f"tensor {quoted(name)}"
            )

    def _is_turned(self, pair: Pair) -> bool:
        """Whether the base's rows are the adapter's inputs: Conv1D, and embeddings, which are looked up by row."""
        return self.adapter.fan_in_fan_out != pair.is_embedding

    def rows(self, name: str, first: int, count: int, out: Rows | None = None) -> Rows:
        if (own := self.adapter.replaced.get(name)) is not None:
            return self.adapter.weights.rows(own, first, count, out)
        rows = self.base.rows(name, first, count, out)
        if (pair := self.adapter.pairs.get(name)) is not None:
            rows += self._delta(pair, first, count)
        return rows

    def read_rows(self, name: str, first: int, count: int) -> bytes:
        if (own := self.adapter.replaced.get(name)) is not None:
            return self.adapter.weights.read_rows(own, first, count)
        if name in self.adapter.pairs:
            return self.rows(name, first, count).astype("<f4").tobytes()
        return self.base.read_rows(name, first, count)

    def _delta(self, pair: Pair, first: int, count: int) -> Rows:
        """scale * B A, rows [first, first + count) of the base's orientation."""
        weights = self.adapter.weights
        a = weights.rows(pair.a, 0, n_rows(weights.entries[pair.a]))
        if self._is_turned(pair):
            b = weights.rows(pair.b, 0, n_rows(weights.entries[pair.b]))
            left, right = a[:, first : first + count].T, b.T
        else:
            left, right = weights.rows(pair.b, first, count), a
        return _product(left, right) * np.float32(pair.scale)


def _product(left: Rows, right: Rows) -> Rows:
    """left @ right, summed over the rank in its order, so that equal input gives equal bytes on every machine.

    A BLAS library chooses its own order by shape and processor; ranks are small, so the loop costs little.
    """
    total = np.zeros((left.shape[0], right.shape[1]), np.float32)
    for rank in range(left.shape[1]):
        total += left[:, rank, None] * right[rank]
    return total
