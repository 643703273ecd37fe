"""GPTQ: 2, 4 or 8 bits, packed down the columns; a scale and a zero point per group of inputs.

| tensor | what |
|---|---|
| X.qweight | int32 (n_in * bits / 32, n_out): 32 / bits inputs in each number, lowest bits first |
| X.qzeros | int32 (n_groups, n_out * bits / 32): zero points, minus one unless checkpoint_format is gptq_v2 |
| X.scales | float (n_groups, n_out) |
| X.g_idx | int32 (n_in,): the group of each input |

X.weight (n_out, n_in)[o, i] = scales[g, o] * (quant[i, o] - zero[g, o]) with g = g_idx[i].
Inputs lie in rows here and in columns of what we make, so one packed tensor is held while its rows are read.
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
from conversion.formats.weights import Rows, Weights


def find_gptq(weights: Weights, config: Mapping[str, Any]) -> Found:
    bits = whole_number(config, "bits", 2, 4, 8)
    offset = 0 if config.get("checkpoint_format") == "gptq_v2" else 1
    held = LastRead(partial(read_all, weights))
    found: Found = {}
    for name in weights.entries:
        if name.endswith(".qweight"):
            stem = name.removesuffix(".qweight")
            found[f"{stem}.weight"] = _made(_Packed(weights, stem, bits, offset, held))
    return found


@dataclass(frozen=True)
class _Packed:
    weights: Weights
    stem: str
    bits: int
    offset: int
    held: LastRead

    def rows(self, first: int, count: int) -> Rows:
        columns = slice(first, first + count)
        groups = read_all(self.weights, f"{self.stem}.g_idx")
        scales = read_floats(self.weights, f"{self.stem}.scales")[:, columns]
        if groups.min() < 0 or groups.max() >= len(scales):
            raise HeaderError(
                "packed-group",
                "an input belongs to a group without scales",
                f"tensor {quoted(self.stem + '.g_idx')}",
            )
        stored = read_all(self.weights, f"{self.stem}.qzeros")
        zeros = unpack_bits(stored, self.bits, axis=1)[:, columns] + np.int16(self.offset)
        quants = unpack_bits(self.held(f"{self.stem}.qweight")[:, columns], self.bits, axis=0)
        values = scales[groups] * (quants - zeros[groups]).astype(np.float32)
        return np.ascontiguousarray(values.T)


def _made(one: _Packed) -> Made:
    weights, stem, per_number = one.weights, one.stem, 32 // one.bits
    packed = part(weights, f"{stem}.qweight", "I32")
    scales = part(weights, f"{stem}.scales", "F16", "BF16", "F32")
    if len(packed.shape) != 2 or len(scales.shape) != 2:
        raise HeaderError(
            "packed-shape",
            f"its shape is {packed.shape}, expected two dimensions",
            f"tensor {quoted(packed.name)}",
        )
    n_in, n_out, n_groups = packed.shape[0] * per_number, packed.shape[1], scales.shape[0]
    expect_shape(scales, n_groups, n_out)
    expect_shape(part(weights, f"{stem}.qzeros", "I32"), n_groups, -(-n_out // per_number))
    expect_shape(part(weights, f"{stem}.g_idx", "I32"), n_in)
    parts = tuple(f"{stem}.{name}" for name in ("qweight", "qzeros", "scales", "g_idx"))
    return Made((n_out, n_in), one.rows, parts)


def unpack_bits(numbers: npt.NDArray[np.int32], bits: int, axis: int) -> npt.NDArray[np.int16]:
    """The 32 / bits small numbers in each int32, lowest bits first, laid out along `axis`."""
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    shape = list(numbers.shape)
    shape[axis] *= len(shifts)
    parts = np.expand_dims(
        numbers.view(np.uint32) if numbers.flags.c_contiguous else numbers.astype(np.uint32), axis + 1
    )
    spread = shifts.reshape(-1, 1) if axis == 0 else shifts.reshape(1, 1, -1)
    return ((parts >> spread) & np.uint32((1 << bits) - 1)).astype(np.int16).reshape(shape)
