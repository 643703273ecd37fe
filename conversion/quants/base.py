"""What a quantization type is.

Its numpy functions see blocks only: float32 `(n_blocks, block_size)` in, uint8 `(n_blocks, type_size)` out, and back;
they fill an array that they are given. They are the executable specification, and the fallback where the compiled
kernels (kernels/) cannot be had. Rows, chunks, threads and the checks of ggml's loader and writer live in shell.py.

Bit for bit means: as ggml's baseline x86-64 build computes it. Every float operation is rounded to binary32 on its own,
in the order of the C expressions, without fused multiply-add.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class QuantError(ValueError):
    """Values or bytes that cannot be quantised or read; `code` is stable, a retry cannot help."""

    retryable = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Importance:
    """An importance matrix laid over some blocks.

    weights: float32 (n_blocks, block_size), one weight per column, the same for every row.
    row_power: float32 (n_blocks, 1), the mean square of the row that each block belongs to.
    """

    weights: Floats
    row_power: Floats

    def part(self, first: int, last: int) -> "Importance":
        return Importance(self.weights[first:last], self.row_power[first:last])


Quantizer = Callable[[Floats, Importance | None, Bytes], int | None]
"""(blocks, importance, out) -> 1 + the index of a block that ggml would abort on; 0 or None if all went well."""

Dequantizer = Callable[[Bytes, Floats], None]
Refusal = Callable[[Bytes], npt.NDArray[np.bool_]]
"""uint8 (n_blocks, type_size) -> bool (n_blocks,), true for blocks that ggml writes and then finds invalid."""


@dataclass(frozen=True)
class QuantType:
    """One quantization type: `block_size` elements of a row become `type_size` bytes.

    `quantize_blocks` is None for a type that can only be read. `scale_at` lists the byte offsets of the float16 scales
    in a block: ggml refuses to write a block whose scale is not finite, and so do we; `is_invalid` finds blocks that it
    refuses for anything else. `needs_imatrix`: ggml quantises it with an importance matrix or not at all;
    `uses_imatrix` is False where it changes nothing. `kernel_checks`: the compiled kernel marks NaN, infinity and what
    does not fit by itself; where moving bytes is all there is to do, the shell's looking would take as long again.
    `row_header`: bytes at the start of a row, before its blocks;
    where there are some, `dequantize_blocks` gets whole rows, uint8 (n_rows, row_bytes) and float32 (n_rows, n_cols).
    """

    name: str
    block_size: int
    type_size: int
    quantize_blocks: Quantizer | None = field(repr=False)
    dequantize_blocks: Dequantizer = field(repr=False)
    scale_at: tuple[int, ...] = ()
    is_invalid: Refusal | None = field(default=None, repr=False)
    needs_imatrix: bool = False
    uses_imatrix: bool = True
    kernel_checks: bool = False
    row_header: int = 0

    def row_bytes(self, n_cols: int) -> int:
        """Bytes of one row; QuantError `row-not-divisible` unless blocks divide it."""
        if n_cols <= 0 or n_cols % self.block_size:
            raise QuantError(
                "row-not-divisible",
                f"rows of {n_cols} values do not divide into blocks of {self.block_size}, which {self.name} needs. "
                "Choose a type with smaller blocks, such as F16.",
            )
        return self.row_header + n_cols // self.block_size * self.type_size
