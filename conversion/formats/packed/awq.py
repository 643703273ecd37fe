"""AWQ (the GEMM layout of AutoAWQ): 4 bits, packed along the outputs in an order of its own.

| tensor | what |
|---|---|
| X.qweight | int32 (n_in, n_out / 8): eight outputs in each number, in the order 0 2 4 6 1 3 5 7, lowest bits first |
| X.qzeros | int32 (n_groups, n_out / 8): zero points, packed likewise |
| X.scales | float (n_groups, n_out) |

X.weight (n_out, n_in)[o, i] = scales[g, o] * (quant[i, o] - zero[g, o]) with g = i // group_size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.packed.base import (
    Found,
    LastRead,
    Made,
    expect_shape,
    part,
    read_all,
    read_floats,
    whole_number,
)
from conversion.formats.packed.gptq import unpack_bits
from conversion.formats.weights import Rows, Weights

PER_NUMBER = 8
PLACE = np.array([0, 4, 1, 5, 2, 6, 3, 7])
"""Output o of eight lies in the nibble PLACE[o]: the inverse of 0 2 4 6 1 3 5 7."""


def find_awq(weights: Weights, config: Mapping[str, Any]) -> Found:
    whole_number(config, "bits", 4)
    version = str(config.get("version", "gemm")).lower()
    if version != "gemm":
        raise HeaderError(
            "packed-config", f"AWQ's layout {version[:20]!r} is not read, only gemm", "quantization_config"
        )
    group_size = whole_number(config, "group_size")
    held = LastRead(partial(read_all, weights))
    found: Found = {}
    for name in weights.entries:
        if name.endswith(".qweight"):
            stem = name.removesuffix(".qweight")
            found[f"{stem}.weight"] = _made(_Packed(weights, stem, group_size, held))
    return found


@dataclass(frozen=True)
class _Packed:
    """One weight; a group size below one means that all inputs share their scales."""

    weights: Weights
    stem: str
    group_size: int
    held: LastRead

    def rows(self, first: int, count: int) -> Rows:
        packed = self.held(f"{self.stem}.qweight")
        numbers = slice(first // PER_NUMBER, -(-(first + count) // PER_NUMBER))
        inside = slice(first - numbers.start * PER_NUMBER, first - numbers.start * PER_NUMBER + count)
        quants = _in_order(packed[:, numbers])[:, inside]
        zeros = _in_order(read_all(self.weights, f"{self.stem}.qzeros")[:, numbers])[:, inside]
        scales = read_floats(self.weights, f"{self.stem}.scales")[:, first : first + count]
        n_in = len(packed)
        groups = np.arange(n_in) // (self.group_size if self.group_size > 0 else n_in)
        values = scales[groups] * (quants - zeros[groups]).astype(np.float32)
        return np.ascontiguousarray(values.T)


def _made(one: _Packed) -> Made:
    weights, stem = one.weights, one.stem
    packed = part(weights, f"{stem}.qweight", "I32")
    if len(packed.shape) != 2:
        raise HeaderError(
            "packed-shape",
            f"its shape is {packed.shape}, expected two dimensions",
            f"tensor {quoted(packed.name)}",
        )
    n_in, n_numbers = packed.shape
    n_groups = -(-n_in // one.group_size) if one.group_size > 0 else 1
    expect_shape(part(weights, f"{stem}.scales", "F16", "BF16", "F32"), n_groups, n_numbers * PER_NUMBER)
    expect_shape(part(weights, f"{stem}.qzeros", "I32"), n_groups, n_numbers)
    parts = tuple(f"{stem}.{name}" for name in ("qweight", "qzeros", "scales"))
    return Made((n_numbers * PER_NUMBER, n_in), one.rows, parts)


def _in_order(numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int16]:
    spread = unpack_bits(np.ascontiguousarray(numbers), 4, axis=1).reshape(len(numbers), -1, PER_NUMBER)
    return spread[:, :, PLACE].reshape(len(numbers), -1)
