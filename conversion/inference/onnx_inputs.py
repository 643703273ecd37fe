"""Inputs for a network that nobody here knows: shapes from its graph, values from a fixed seed, the same in every run.

A free dimension (a name, or nothing) says only that a size is free, not which ones the network can work with. The first
one of an input is taken for the batch and is 1; for the others a few sizes are tried in turn, the same for equal names,
until one fits. Values depend on the name and shape of an input alone, so that two versions of a network read the same.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversion.formats.onnx import Port

SIZES = (8, 1, 64, 512, 224, 1024)
"""Tokens, single steps, short windows, audio frames at 16 kHz, pictures."""

STYLES = ("small", "zeros")
"""Whole numbers: 1 to 7, fit for token ids; or nothing but 0, which is inside every table."""

MAX_ELEMENTS = 1 << 22
MAX_INPUTS = 1000
SAMPLE_RATES = ("sr", "sample_rate", "sampling_rate")
SAMPLE_RATE = 16_000
NUMPY_DTYPES = {
    "F32": "float32", "F16": "float16", "F64": "float64", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
    "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool",
}  # fmt: skip
"""Dtypes that values are made of; a network that wants texts or sequences is not run."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What one input is given: enough to make the values anywhere, a few bytes to send."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    style: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"shape": list(self.shape)}


def feeds_to_try(inputs: Sequence[Port]) -> Iterator[tuple[Feed, ...]]:
    """One set of feeds after the other, none too large; nothing for inputs that no values can be made for."""
    if len(inputs) > MAX_INPUTS or any(
        port.dtype not in NUMPY_DTYPES or port.shape is None for port in inputs
    ):
        return
    tried = set()
    has_wholes = any(port.dtype[0] in "IU" for port in inputs)
    for shapes in _shapes_to_try(inputs):
        if shapes in tried or any(math.prod(shape) > MAX_ELEMENTS for shape in shapes):
            continue
        tried.add(shapes)
        for style in STYLES if has_wholes else STYLES[:1]:
            named = zip(inputs, shapes, strict=True)
            yield tuple(Feed(port.name, port.dtype, shape, style) for port, shape in named)


def _shapes_to_try(inputs: Sequence[Port]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Every size for all inputs, then for the first input alone: the others may be states, free in the batch only."""
    batches = batch_names(inputs)
    for n_sized in (len(inputs), 1):
        for size in SIZES:
            sizes = [size if index < n_sized else 1 for index in range(len(inputs))]
            yield tuple(settled(port, one, batches) for port, one in zip(inputs, sizes, strict=True))


def batch_names(inputs: Sequence[Port]) -> frozenset[str]:
    """Names of dimensions that come first in some input: the batch, wherever else they stand."""
    firsts = (port.shape[0] for port in inputs if port.shape)
    return frozenset(one for one in firsts if isinstance(one, str) and one)


def settled(port: Port, size: int, batches: frozenset[str] = frozenset()) -> tuple[int, ...]:
    """The port's shape with every free dimension settled: a batch is 1, the others are `size`."""
    return tuple(
        one if isinstance(one, int) and one > 0 else 1 if index == 0 or one in batches else size
        for index, one in enumerate(port.shape or ())
    )


def has_free_dimensions(inputs: Sequence[Port]) -> bool:
    return any(not isinstance(one, int) or one <= 0 for port in inputs for one in port.shape or ())


def values_of(feed: Feed) -> NDArray[Any]:
    """The values, C-contiguous. Made from PCG64's raw bits, whose stream numpy promises to keep.

    Floats are uniform in ±1, masks are all ones, positions count from 0, a sample rate is 16,000.
    """
    dtype, shape = np.dtype(NUMPY_DTYPES[feed.dtype]), feed.shape
    name = feed.name.lower().rpartition("/")[2]
    if name in SAMPLE_RATES and dtype.kind in "iu":
        return np.full(shape, SAMPLE_RATE, dtype)
    if "mask" in name or dtype.kind == "b":
        return np.ones(shape, dtype)
    if "position" in name and dtype.kind in "iu" and shape:
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(dtype)
    bits = np.random.PCG64(_seed(feed)).random_raw(math.prod(shape)).reshape(shape)
    if dtype.kind == "f":
        return ((bits >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0).astype(dtype)
    if feed.style == "zeros" or "type" in name:
        return np.zeros(shape, dtype)
    return (bits % np.uint64(7) + np.uint64(1)).astype(dtype)


def _seed(feed: Feed) -> int:
    text = f"{feed.name} {feed.shape}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
