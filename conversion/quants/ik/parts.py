"""Parts that many of ik_llama.cpp's types have in common, unpacked for many blocks at once."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from conversion.quants.base import Bytes, Dequantizer, Floats

_NIBBLES = np.array([0, 4], dtype=np.uint8)[:, None]
_TWO_BITS = np.array([0, 2, 4, 6], dtype=np.uint8)
_BITS = np.arange(8, dtype=np.uint8)

BLOCK_SIZE = 256
Decoder = Callable[[Bytes, Floats, Floats], None]
"""(blocks, scales, out): fills float32 (n_blocks, block_size), given float32 (n_blocks, 1) that the row header had."""


def with_row_scale(decode: Decoder, dtype: str, type_size: int, header: int = 0) -> Dequantizer:
    """A function over whole rows, which begin with one scale for all their blocks: "<f2" or "<f4"."""
    header = header or np.dtype(dtype).itemsize

    def dequantize_rows(rows: Bytes, out: Floats) -> None:
        scale = np.ascontiguousarray(rows[:, : np.dtype(dtype).itemsize]).view(dtype).astype(np.float32)
        blocks = np.ascontiguousarray(rows[:, header:]).reshape(-1, type_size)
        per_row = len(blocks) // len(rows) if len(rows) else 1
        decode(blocks, np.repeat(scale, per_row, axis=0), out.reshape(len(blocks), -1))

    return dequantize_rows


def halves(data: Bytes) -> Floats:
    """float32 (n, m) of float16 (n, 2 * m)."""
    return np.ascontiguousarray(data).view("<f2").astype(np.float32)


def words(data: Bytes) -> npt.NDArray[np.uint16]:
    """uint16 (n, m) of little-endian bytes (n, 2 * m)."""
    return np.ascontiguousarray(data).view("<u2").astype(np.uint16)


def nibbles(data: Bytes, run: int = 1) -> Bytes:
    """uint8 (n, 2 * m): of every `run` bytes first all the low four bits, then all the high ones."""
    return ((data.reshape(len(data), -1, 1, run) >> _NIBBLES) & np.uint8(15)).reshape(len(data), -1)


def two_bits(data: Bytes, run: int = 1) -> Bytes:
    """uint8 (n, 4 * m): of every `run` bytes first all the lowest two bits, and so on."""
    shifted = data.reshape(len(data), -1, 1, run) >> _TWO_BITS[:, None]
    return (shifted & np.uint8(3)).reshape(len(data), -1)


def bit_planes(data: Bytes, run: int) -> Bytes:
    """uint8 (n, 8 * m) of 0 and 1: of every `run` bytes first all the lowest bits, and so on."""
    shifted = data.reshape(len(data), -1, 1, run) >> _BITS[:, None]
    return (shifted & np.uint8(1)).reshape(len(data), -1)


def bits(values: npt.NDArray[np.uint16], first: int, count: int) -> npt.NDArray[np.intp]:
    """intp (n, count) of uint16 (n, 1): its bits from number `first` on."""
    return ((values >> np.arange(first, first + count, dtype=np.uint16)) & np.uint16(1)).astype(np.intp)


def put(scales: Floats, levels: Floats, out: Floats) -> None:
    """out = scale * level: scales float32 (n, n_runs), levels (n, block_size) in as many runs."""
    shape = (*scales.shape, -1)
    np.multiply(scales[:, :, None], levels.reshape(shape), out=out.reshape(shape))


def looked_up(table: Floats, rows: npt.NDArray[np.intp], numbers: Bytes) -> Floats:
    """float32 (n, block_size): table[row, number], with one row for each of the runs: rows (n, n_runs)."""
    levels: Floats = table[rows[:, :, None], numbers.reshape(*rows.shape, -1)]
    return levels.reshape(len(numbers), -1)
