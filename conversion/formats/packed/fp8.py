"""FP8 checkpoints (DeepSeek V3, Qwen3-FP8, Mistral): eight-bit floats and one scale per block, row or tensor.

| tensor | what |
|---|---|
| X.weight | F8_E4M3 (…, rows, cols) |
| X.weight_scale_inv | float (…, ceil(rows / block), ceil(cols / block)); value = weight * scale, despite the name |
| X.qscale_weight | Mistral's name for one scale of the whole tensor |
| X.activation_scale, X.qscale_act, X.input_scale | for activations: dropped |

`weight_block_size` in the config gives the block, by default 128 x 128 where scales have two dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.layout import TensorEntry
from conversion.formats.packed.base import Found, Made, part, read_floats
from conversion.formats.weights import Rows, Weights

FLOATS = ("F32", "F16", "BF16")
EIGHT_BITS = ("F8_E4M3", "F8_E5M2", "I8")
SCALE_SUFFIXES = ("_scale_inv", "_scale")
ACTIVATION_SUFFIXES = (
    ".activation_scale", "_activation_scale", ".qscale_act", ".input_scale", ".output_scale", ".k_scale", ".v_scale",
)  # fmt: skip


def find_fp8(weights: Weights, config: Mapping[str, Any]) -> Found:
    block = block_of(config.get("weight_block_size"))
    found: Found = {}
    for name in weights.entries:
        if name.endswith(ACTIVATION_SUFFIXES):
            found[name] = None
        elif name.endswith("_scale_inv"):
            plain = name.removesuffix("_scale_inv")
            found[plain] = scaled(weights, plain, name, block)
        elif name.endswith(".qscale_weight"):
            plain = name.removesuffix("qscale_weight") + "weight"
            found[plain] = scaled(weights, plain, name, block)
    return found


def block_of(said: object) -> tuple[int, int]:
    """(rows, columns) that share one scale; HeaderError `packed-config` for what is no such pair."""
    if said is None:
        return (128, 128)
    if isinstance(said, list) and len(said) == 2 and all(type(n) is int and 0 < n < 2**20 for n in said):
        return (said[0], said[1])
    raise HeaderError(
        "packed-config", f"the block size must be two whole numbers, not {said!r:.60}", "quantization_config"
    )


def scaled(weights: Weights, name: str, scale_name: str, block: tuple[int, int]) -> Made:
    """The tensor `name` times its scales: one for all, one a row, or one a block of the last two dimensions."""
    entry = part(weights, name, *EIGHT_BITS)
    scale = part(weights, scale_name, *FLOATS)
    one = _Scaled(weights, entry, scale_name, _spread(entry, scale, block))
    return Made(entry.shape, one.rows, (name, scale_name))


def _spread(entry: TensorEntry, scale: TensorEntry, block: tuple[int, int]) -> tuple[int, int]:
    """How many (rows, columns) of the tensor one scale is for; 0 columns for one scale in all."""
    *outer, rows, cols = entry.shape if len(entry.shape) > 1 else (1, *entry.shape)
    if scale.n_elements == 1:
        return (0, 0)
    if scale.shape in ((*outer, rows), (*outer, rows, 1)):
        return (1, cols)
    if scale.shape == (*outer, -(-rows // block[0]), -(-cols // block[1])):
        return block
    raise HeaderError(
        "packed-shape",
        f"scales of shape {scale.shape} do not fit weights of shape {entry.shape} and blocks of {block}",
        f"tensor {quoted(scale.name)}",
    )


@dataclass(frozen=True)
class _Scaled:
    """`sizes` (rows, columns) of the tensor share a scale; (0, 0) where one is for all."""

    weights: Weights
    entry: TensorEntry
    scale_name: str
    sizes: tuple[int, int]

    def rows(self, first: int, count: int) -> Rows:
        rows = self.weights.rows(self.entry.name, first, count)
        scales = read_floats(self.weights, self.scale_name)
        if self.sizes == (0, 0):
            rows *= scales.reshape(())
            return rows
        n_cols = self.entry.shape[-1]
        grid = scales.reshape(-1, -(-n_cols // self.sizes[1]))[self._grid_rows(first, count)]
        rows *= np.repeat(grid, self.sizes[1], axis=1)[:, :n_cols]
        return rows

    def _grid_rows(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """Which row of scales each row of weights has; blocks begin anew with each matrix of a stack."""
        per_matrix = self.entry.shape[-2] if len(self.entry.shape) > 1 else 1
        at = np.arange(first, first + count)
        return at // per_matrix * -(-per_matrix // self.sizes[0]) + at % per_matrix // self.sizes[0]
