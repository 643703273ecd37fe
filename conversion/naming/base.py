"""What a model family must tell a converter: which tensor becomes which, and what the metadata says.

A family is one file with one `Family`; `conversion/naming/__init__.py` lists them. Everything here is decided from the
config and the names and shapes of tensors, before any weight is read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

Config = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]
Rows = npt.NDArray[np.float32]

MAX_COUNT = 2**31 - 1
"""The largest count a config may state; GGUF readers keep these in 32 bits."""


class NamingError(Exception):
    """A checkpoint that cannot become a GGUF; `code` is stable, a retry cannot help."""

    retryable = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class UnsupportedArchitecture(NamingError):
    """No family here knows this architecture."""

    def __init__(self, architecture: str, supported: list[str]) -> None:
        super().__init__(
            "unsupported-architecture",
            f"{architecture or 'config.json names no architecture, so it'} cannot be converted to GGUF yet. "
            f"Supported: {', '.join(supported)}. The checkpoint stays mirrored and can be converted later.",
        )
        self.architecture, self.supported = architecture, supported


@dataclass(frozen=True)
class Target:
    """One tensor of the GGUF to be: a tensor of the checkpoint, its rows perhaps in another order, or made values.

    `shape` is row-major. Rows may be arranged only within groups of `rows_together`: float32 (n, cols) in, the same
    shape out, for any n that is a multiple of it. So a slab of any size can be worked on alone.
    """

    name: str
    shape: tuple[int, ...]
    source: str = ""
    rows_together: int = 1
    arrange: Callable[[Rows], Rows] | None = field(default=None, repr=False)
    values: Rows | None = field(default=None, repr=False)

    @property
    def n_elements(self) -> int:
        return int(np.prod(self.shape, dtype=object))

    @property
    def n_cols(self) -> int:
        return self.shape[-1]

    @property
    def n_rows(self) -> int:
        return self.n_elements // self.n_cols if self.n_cols else 0


@dataclass(frozen=True)
class Family:
    """A family of models with one GGUF architecture.

    targets: config and shapes to targets, in the order of the shapes, made ones first; raises NamingError.
    describe: writes the family's own keys (`llama.context_length`, …) and general.file_type, whose number it is given,
    to a metadata-only GGUFWriter.
    """

    gguf_architecture: str
    architectures: tuple[str, ...]
    targets: Callable[[Config, Shapes], list[Target]]
    describe: Callable[[Config, int, gguf.GGUFWriter], None]


def read_count(config: Config, key: str, default: int | None = None) -> int:
    """A positive whole number from the config; NamingError `bad-config` if it is absent or something else."""
    value = config.get(key)
    if value is None:
        value = default
    if type(value) is not int or not 0 < value <= MAX_COUNT:
        raise NamingError(
            "bad-config", f"config.json: {key} must be a positive whole number, not {value!r:.80}."
        )
    return value


def read_number(config: Config, key: str, default: float) -> float:
    """A finite number from the config; NamingError `bad-config` if it is something else."""
    value = config.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise NamingError("bad-config", f"config.json: {key} must be a number, not {value!r:.80}.")
    return float(value)
