"""What a GGUF says of its model, as plain Python values: the raw material of a config.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from conversion.formats.gguf import read_value
from conversion.formats.gguf.weights import GgufWeights
from conversion.naming.base import NamingError, Rows, Shapes

MAX_VALUES = 65536
"""Of a tensor that config.json states as numbers: a dimension of a head has one."""


@dataclass(frozen=True)
class Held:
    """`own` values are those under the architecture's name; `whole` ones may be long lists."""

    weights: GgufWeights = field(repr=False)
    architecture: str
    shapes: Shapes

    @classmethod
    def of(cls, weights: GgufWeights) -> "Held":
        architecture = str(weights.header.get("general.architecture", ""))[:60]
        return cls(weights, architecture, {name: entry.shape for name, entry in weights.entries.items()})

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Key to scalar, short string, or the first elements of an array."""
        return self.weights.metadata

    def own(self, key: str, default: Any = None) -> Any:
        """`<architecture>.<key>`, or the default."""
        return self.metadata.get(f"{self.architecture}.{key}", default)

    def count(self, key: str, default: int | None = None) -> int:
        """An own value that is a whole number; NamingError `config-not-restored` without one."""
        value = self.own(key, default)
        if type(value) is not int or value < 1:
            raise NamingError(
                "config-not-restored",
                f"{self.architecture}.{key} is {value!r:.60}, not one positive whole number; GGUF's names are kept.",
            )
        return value

    def number(self, key: str, default: float) -> float:
        """An own value as the shortest decimal of that float32: what a config.json said before it was stored."""
        value = self.own(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
            raise NamingError(
                "config-not-restored",
                f"{self.architecture}.{key} is {value!r:.60}, not a number; GGUF's names are kept.",
            )
        return shortest(value)

    def whole(self, key: str) -> list[Any]:
        """All elements of an array, [] if there is none. Reads the file where the header's beginning is not enough."""
        value = self.weights.header.metadata.get(key)
        if value is None:
            return []
        source = next(iter(self.weights.sources.values()))
        found = read_value(source, value).value
        return found if isinstance(found, list) else [found]

    def text(self, key: str) -> str | None:
        """A string, however long; None if there is none."""
        value = self.weights.header.metadata.get(key)
        if value is None or not isinstance(value.preview, str):
            return None
        source = next(iter(self.weights.sources.values()))
        return str(read_value(source, value).value)

    def vector(self, name: str) -> Rows:
        """A small tensor's values; NamingError `config-not-restored` above MAX_VALUES."""
        entry = self.weights.entries[name]
        if not 0 < entry.n_elements <= MAX_VALUES or len(entry.shape) != 1:
            raise NamingError(
                "config-not-restored",
                f"{name} of shape {entry.shape} is no list of RoPE factors; GGUF's names are kept.",
            )
        values: Rows = self.weights.rows(name, 0, 1)[0]
        return values

    @property
    def head_dim(self) -> int:
        """The hidden size over the heads, for a family whose heads have no size of their own."""
        size = self.count("embedding_length") // self.count("attention.head_count")
        if size < 1:
            raise NamingError(
                "config-not-restored", "there are more heads than dimensions; GGUF's names are kept."
            )
        return size

    def has(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return name in self.shapes


def shortest(value: float) -> float:
    """The shortest decimal that is this float32."""
    return float(str(np.float32(value)))
