"""What a quantization type is, and the shell around every kernel: shapes, refusals, chunks.

A kernel sees blocks only: float32 `(n_blocks, block_size)` in, uint8 `(n_blocks, type_size)` out, and back; it fills an
array that it is given. Rows, chunking and the checks of ggml's loader and writer live here, once for all types.

Bit for bit means: as ggml's baseline x86-64 build computes it. Every float operation is rounded to binary32 on its own,
in the order of the C expressions, without fused multiply-add.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

CHUNK_ELEMENTS = 1 << 18
"""Elements a kernel is given at once: 1 MB of float32 and its temporaries stay in the cache of one core."""


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


Quantizer = Callable[[Floats, Importance | None, Bytes], None]
Dequantizer = Callable[[Bytes, Floats], None]


@dataclass(frozen=True)
class QuantType:
    """One quantization type: `block_size` elements of a row become `type_size` bytes.

    `scale_at` lists the byte offsets of the float16 scales in a block: ggml refuses to write a block whose scale is
    not finite, and so do we. `elements` says what the values themselves are where there is no scale (F32, F16, BF16).
    """

    name: str
    block_size: int
    type_size: int
    quantize_blocks: Quantizer = field(repr=False)
    dequantize_blocks: Dequantizer = field(repr=False)
    scale_at: tuple[int, ...] = ()

    def row_bytes(self, n_cols: int) -> int:
        """Bytes of one row; QuantError `row-not-divisible` unless blocks divide it."""
        if n_cols <= 0 or n_cols % self.block_size:
            raise QuantError(
                "row-not-divisible",
                f"rows of {n_cols} values do not divide into blocks of {self.block_size}, which {self.name} needs. "
                "Choose a type with smaller blocks, such as F16.",
            )
        return n_cols // self.block_size * self.type_size


def quantize_rows(kind: QuantType, rows: Floats, imatrix: Floats | None) -> Bytes:
    """uint8 (n_rows, bytes_per_row). Raises QuantError: `non-finite-weights` as ggml's loader does for NaN and
    infinity, `scale-overflow` where ggml writes a block and then refuses it, `wrong-shape`, `row-not-divisible`."""
    _check_rows(rows)
    n_rows, n_cols = rows.shape
    row_bytes = kind.row_bytes(n_cols)
    blocks = np.ascontiguousarray(rows).reshape(-1, kind.block_size)
    importance = _importance(kind, rows, imatrix)
    out = np.empty((len(blocks), kind.type_size), dtype=np.uint8)
    step = max(1, CHUNK_ELEMENTS // kind.block_size)
    for first in range(0, len(blocks), step):
        chunk, filled = blocks[first : first + step], out[first : first + step]
        _check_finite(chunk, first * kind.block_size, n_cols)
        part = importance.part(first, first + step) if importance else None
        # Overflow and invalid operations are ordinary here: what they lead to is refused below, as ggml does.
        with np.errstate(all="ignore"):
            kind.quantize_blocks(chunk, part, filled)
        _check_scales(kind, filled, first)
    return out.reshape(n_rows, row_bytes)


def dequantize_rows(kind: QuantType, data: Bytes, n_cols: int) -> Floats:
    """float32 (n_rows, n_cols) of uint8 (n_rows, bytes_per_row), or of the flat bytes of whole rows."""
    row_bytes = kind.row_bytes(n_cols)
    flat = np.ascontiguousarray(data, dtype=np.uint8).reshape(-1)
    if flat.size % row_bytes:
        raise QuantError(
            "wrong-shape", f"{flat.size} bytes are not whole {kind.name} rows of {row_bytes} bytes."
        )
    blocks = flat.reshape(-1, kind.type_size)
    out = np.empty((len(blocks), kind.block_size), dtype=np.float32)
    step = max(1, CHUNK_ELEMENTS // kind.block_size)
    with np.errstate(all="ignore"):
        for first in range(0, len(blocks), step):
            kind.dequantize_blocks(blocks[first : first + step], out[first : first + step])
    return out.reshape(-1, n_cols)


def _check_rows(rows: Floats) -> None:
    if rows.ndim != 2 or rows.dtype != np.float32:
        raise QuantError("wrong-shape", f"expected float32 rows, got {rows.dtype} of shape {rows.shape}.")


def _check_finite(chunk: Floats, start: int, n_cols: int) -> None:
    """`start` is the chunk's first element in the rows. NaN and infinity survive min and max, which are quick."""
    if np.isfinite(chunk.min()) and np.isfinite(chunk.max()):
        return
    at = int(np.argmax(~np.isfinite(chunk).reshape(-1)))
    row, column = divmod(start + at, n_cols)
    raise QuantError(
        "non-finite-weights",
        f"row {row}, column {column} is {chunk.reshape(-1)[at]}. ggml refuses NaN and infinity, and so do we.",
    )


def _importance(kind: QuantType, rows: Floats, imatrix: Floats | None) -> Importance | None:
    if imatrix is None:
        return None
    n_rows, n_cols = rows.shape
    if imatrix.shape != (n_cols,) or imatrix.dtype != np.float32:
        raise QuantError(
            "wrong-imatrix",
            f"expected {n_cols} float32 weights, got {imatrix.dtype} of shape {imatrix.shape}.",
        )
    n_blocks = n_cols // kind.block_size
    weights = np.broadcast_to(imatrix.reshape(1, n_blocks, -1), (n_rows, n_blocks, kind.block_size))
    with np.errstate(all="ignore"):
        # accumulate adds strictly from left to right, as the C loop does; sum() would add in pairs.
        power = np.add.accumulate(rows * rows, axis=1, dtype=np.float32)[:, -1:] / np.float32(n_cols)
    return Importance(weights.reshape(-1, kind.block_size), np.repeat(power, n_blocks, axis=0))


def _check_scales(kind: QuantType, blocks: Bytes, first: int) -> None:
    for at in kind.scale_at:
        is_infinite = blocks[:, at + 1] & 0x7C == 0x7C
        if is_infinite.any():
            raise QuantError(
                "scale-overflow",
                f"the scale of block {first + int(np.argmax(is_infinite))} does not fit {kind.name}: its values are "
                "too large. ggml refuses such a block; keep this tensor as F32 or BF16.",
            )
