"""What a model family must tell a converter: which tensor becomes which, and what the metadata says.

A family is one file with one `Family`; `families` lists them. Everything here is decided from the
config and the names and shapes of tensors, before any weight is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.formats.weights import Rows, Weights

if TYPE_CHECKING:  # the package costs a tenth of a second, and only families write with it
    import gguf

__all__ = [
    "Config",
    "Family",
    "NamingError",
    "Packed",
    "Rows",
    "Shapes",
    "Target",
    "UnsupportedArchitecture",
    "Weights",
]

Config = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]

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
class Packed:
    """Weights that the checkpoint already holds in a ggml type: moved byte by byte, never quantised again.

    read: (weights, first row, count) to the bytes of those rows of the target, in `type_name`'s layout.
    """

    type_name: str
    read: Callable[[Weights, int, int], bytes] = field(repr=False)


@dataclass(frozen=True)
class Target:
    """One tensor of the GGUF to be, seen as rows of its last dimension. `shape` is row-major. Its rows come from

    source: a tensor of the checkpoint with as many rows; or
    sources: several of one shape, stacked along a new first axis (the experts of a layer); or
    values: numbers made from the config; or
    read: (weights, first row, count) to float32 (count, n_cols), for whatever is not a run of a tensor's own rows; or
    packed: bytes that are in a ggml type already.

    `arrange` puts rows of `source` or `sources` in another order, only within groups of `rows_together`: float32
    (n, cols) in, the same shape out, for any n that is a multiple of it. So a slab of any size can be worked on alone.
    `read` is asked for multiples of `rows_together` as well. Both may be called by several threads at once.
    """

    name: str
    shape: tuple[int, ...]
    source: str = ""
    rows_together: int = 1
    arrange: Callable[[Rows], Rows] | None = field(default=None, repr=False)
    values: Rows | None = field(default=None, repr=False)
    sources: tuple[str, ...] = ()
    read: Callable[[Weights, int, int], Rows] | None = field(default=None, repr=False)
    packed: Packed | None = None

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def n_cols(self) -> int:
        return self.shape[-1]

    @property
    def n_rows(self) -> int:
        return self.n_elements // self.n_cols if self.n_cols else 0

    @property
    def origin(self) -> str:
        """What it is made of, for messages: the tensor, or the first of several, or its own name."""
        return self.source or next(iter(self.sources), self.name)


@dataclass(frozen=True)
class Family:
    """A family of models with one GGUF architecture.

    targets: config and shapes to targets, in the order of the shapes, made ones first; raises NamingError.
    describe: writes the family's own keys (`llama.context_length`, …) and general.file_type, whose number it is given,
    to a metadata-only GGUFWriter.
    keep_f32: whether a target stays F32 whatever the file type, beyond what every family keeps (norms, routers, …; see
    `file_types`); as the reference converter's class for the family does.
    unpacks: values of `quantization_config.quant_method` whose tensors the family reads as they are stored.
    vocabulary: writes the `tokenizer.*` keys where the family's tokenizer is not described as most are.
    describe_first: writes keys that the reference converter sets before all others.
    describe_files: writes keys found in other files of the folder than config.json, after `describe`.
    variant: another family for some configs of the same architectures; it may return None for this one.
    """

    gguf_architecture: str
    architectures: tuple[str, ...]
    targets: Callable[[Config, Shapes], list[Target]]
    describe: Callable[[Config, int, gguf.GGUFWriter], None]
    keep_f32: Callable[[Target], bool] | None = None
    unpacks: tuple[str, ...] = ()
    vocabulary: Callable[[Config, Path, gguf.GGUFWriter], None] | None = None
    describe_first: Callable[[Config, gguf.GGUFWriter], None] | None = None
    describe_files: Callable[[Config, Path, gguf.GGUFWriter], None] | None = None
    variant: Callable[[Config], Family | None] | None = None


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
