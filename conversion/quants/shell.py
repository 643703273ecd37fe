"""The shell around every kernel: shapes, refusals, chunks, threads, and who does the work.

A chunk is some whole rows. It is checked for NaN and infinity as ggml's loader does, quantised by the compiled kernel
or by numpy (kernels/ decides; the bytes are the same), and its scales are checked as ggml's writer does. Chunks know
nothing of each other, so any number of threads gives the same bytes, and of several bad chunks the first is reported.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from conversion.quants import kernels
from conversion.quants.base import Bytes, Floats, Importance, QuantError, QuantType

CHUNK_ELEMENTS = 1 << 18
"""Elements that are worked on at once: 1 MB of float32 and its temporaries stay in the cache of one core."""

_NO_WEIGHTS = np.empty(0, dtype=np.float32)


def quantize_rows(kind: QuantType, rows: Floats, imatrix: Floats | None, n_threads: int = 1) -> Bytes:
    """uint8 (n_rows, bytes_per_row); see `quantize_into` for what is refused."""
    _check_rows(rows)
    out = np.empty((len(rows), kind.row_bytes(rows.shape[1])), dtype=np.uint8)
    _quantize(kind, rows, out, imatrix, n_threads)
    return out


def quantize_into(kind: QuantType, rows: Floats, out: Bytes, imatrix: Floats | None = None) -> None:
    """Fills `out`, uint8 (n_rows, bytes_per_row), with the blocks of float32 (n_rows, n_cols); starts no thread.

    Raises QuantError: `non-finite-weights` as ggml's loader does for NaN and infinity, `scale-overflow` where ggml
    writes a block and then refuses it, `aborts-in-ggml` where it stops altogether, `imatrix-required`, `wrong-imatrix`,
    `cannot-quantise`, `wrong-shape`, `row-not-divisible`. `out` holds nothing of use then.
    """
    _check_rows(rows)
    _check_out(out, np.dtype(np.uint8), (len(rows), kind.row_bytes(rows.shape[1])))
    _quantize(kind, rows, out, imatrix, 1)


def converter(stored: str, kind: QuantType) -> Callable[[Bytes, Bytes], bool] | None:
    """A function that fills `out` with the values of `data`, both uint8 (n_rows, row_bytes), without a float32 between:
    bit for bit what dequantising `stored` and quantising `kind` give. None where there is no such kernel.

    It gives False, and `out` is of no use, where a value is to be refused: the way through float32 says which.
    """
    action = kernels.FROM_STORED.get((stored, kind.name))
    kernel = None if action is None else kernels.find(kind.name, action)
    if kernel is None:
        return None

    def convert(data: Bytes, out: Bytes) -> bool:
        _check_out(out, np.dtype(np.uint8), data.shape)
        return not kernel(data, out)

    return convert


def dequantize_rows(kind: QuantType, data: Bytes, n_cols: int, n_threads: int = 1) -> Floats:
    """float32 (n_rows, n_cols) of uint8 (n_rows, bytes_per_row), or of the flat bytes of whole rows."""
    data = _whole_rows(kind, data, n_cols)
    out = np.empty((len(data), n_cols), dtype=np.float32)
    _dequantize(kind, data, out, n_threads)
    return out


def dequantize_into(kind: QuantType, data: Bytes, out: Floats) -> None:
    """Fills `out`, float32 (n_rows, n_cols), with the values of uint8 (n_rows, bytes_per_row); starts no thread."""
    if out.ndim != 2:
        raise QuantError("wrong-shape", f"expected rows to fill, got shape {out.shape}.")
    data = _whole_rows(kind, data, out.shape[1])
    _check_out(out, np.dtype(np.float32), (len(data), out.shape[1]))
    _dequantize(kind, data, out, 1)


def _quantize(kind: QuantType, rows: Floats, out: Bytes, imatrix: Floats | None, n_threads: int) -> None:
    weights = _checked_weights(kind, rows.shape[1], imatrix)
    rows = np.require(rows, requirements=["C", "A"])

    def work(first: int, last: int) -> None:
        _quantize_chunk(kind, rows[first:last], weights, out[first:last], first)

    _over_chunks(work, len(rows), rows.shape[1], n_threads)


def _quantize_chunk(kind: QuantType, rows: Floats, weights: Floats, out: Bytes, first_row: int) -> None:
    kernel = kernels.find(kind.name, "quantize")
    if kernel is not None and kind.kernel_checks and not kernel(rows, weights, out):
        return
    check_finite(rows, first_row)
    if kernel is not None:
        mark = 0 if kind.kernel_checks else kernel(rows, weights, out)
    else:
        mark = _quantize_by_numpy(kind, rows, weights, out)
    first_block = first_row * (rows.shape[1] // kind.block_size)
    if mark:
        raise QuantError(
            "aborts-in-ggml",
            f"block {first_block + mark - 1} has values that {kind.name} cannot hold: ggml aborts on them. Keep this "
            "tensor as F32 or BF16.",
        )
    _check_blocks(kind, out.reshape(-1, kind.type_size), first_block)


def _quantize_by_numpy(kind: QuantType, rows: Floats, weights: Floats, out: Bytes) -> int:
    if kind.quantize_blocks is None:
        raise _cannot_quantise(kind)
    started = time.thread_time()
    importance = _importance(kind, rows, weights) if weights.size else None
    # Overflow and invalid operations are ordinary here: what they lead to is refused afterwards, as ggml does.
    with np.errstate(all="ignore"):
        mark = kind.quantize_blocks(
            rows.reshape(-1, kind.block_size), importance, out.reshape(-1, kind.type_size)
        )
    kernels.spent(kind.name, "quantize", time.thread_time() - started)
    return mark or 0


def _dequantize(kind: QuantType, data: Bytes, out: Floats, n_threads: int) -> None:
    if n_threads == 1 and (kernel := kernels.find(kind.name, "dequantize")) is not None:
        kernel(data, out)  # Chunks are for threads, and for numpy's temporaries: a kernel has none.
        return

    def work(first: int, last: int) -> None:
        kernel = kernels.find(kind.name, "dequantize")
        if kernel is not None:
            kernel(data[first:last], out[first:last])
            return
        started = time.thread_time()
        with np.errstate(all="ignore"):
            if kind.row_header:
                kind.dequantize_blocks(data[first:last], out[first:last])
            else:
                kind.dequantize_blocks(
                    data[first:last].reshape(-1, kind.type_size), out[first:last].reshape(-1, kind.block_size)
                )
        kernels.spent(kind.name, "dequantize", time.thread_time() - started)

    _over_chunks(work, len(out), out.shape[1], n_threads)


def _over_chunks(work: Callable[[int, int], None], n_rows: int, n_cols: int, n_threads: int) -> None:
    """`work(first, last)` is done for all rows, some whole rows at a time. Kernels and numpy release the GIL."""
    chunks = list(_chunks(n_rows, n_cols))
    if min(n_threads, len(chunks)) <= 1:
        for first, last in chunks:
            work(first, last)
        return
    with ThreadPoolExecutor(min(n_threads, len(chunks))) as pool:
        try:
            for _ in pool.map(work, *zip(*chunks, strict=True)):
                pass
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _chunks(n_rows: int, n_cols: int) -> Iterator[tuple[int, int]]:
    step = max(1, CHUNK_ELEMENTS // n_cols)
    for first in range(0, n_rows, step):
        yield first, min(first + step, n_rows)


def _check_rows(rows: Floats) -> None:
    if rows.ndim != 2 or rows.dtype != np.float32:
        raise QuantError("wrong-shape", f"expected float32 rows, got {rows.dtype} of shape {rows.shape}.")


def _check_out(
    out: Bytes | Floats, dtype: np.dtype[np.uint8] | np.dtype[np.float32], shape: tuple[int, int]
) -> None:
    """Kernels check no bounds: an array that is too small, or not what they take it for, would corrupt the heap."""
    if out.shape != shape or out.dtype != dtype or not out.flags.carray:
        raise QuantError(
            "wrong-shape",
            f"expected a writable, contiguous array of {dtype} {shape} to fill, got {out.dtype} {out.shape}.",
        )


def _whole_rows(kind: QuantType, data: Bytes, n_cols: int) -> Bytes:
    row_bytes = kind.row_bytes(n_cols)
    flat = np.ascontiguousarray(data, dtype=np.uint8).reshape(-1)
    if flat.size % row_bytes:
        raise QuantError(
            "wrong-shape", f"{flat.size} bytes are not whole {kind.name} rows of {row_bytes} bytes."
        )
    return flat.reshape(-1, row_bytes)


def _checked_weights(kind: QuantType, n_cols: int, imatrix: Floats | None) -> Floats:
    """float32 (n_cols,), or (0,) for no importance matrix."""
    if kind.quantize_blocks is None:
        raise _cannot_quantise(kind)
    if imatrix is None:
        if kind.needs_imatrix:
            raise QuantError(
                "imatrix-required",
                f"{kind.name} is made with an importance matrix or not at all, as in ggml. Give one, or choose a "
                "larger type.",
            )
        return _NO_WEIGHTS
    if imatrix.shape != (n_cols,) or imatrix.dtype != np.float32:
        raise QuantError(
            "wrong-imatrix",
            f"expected {n_cols} float32 weights, got {imatrix.dtype} of shape {imatrix.shape}.",
        )
    return np.require(imatrix, requirements=["C", "A"]) if kind.uses_imatrix else _NO_WEIGHTS


def _cannot_quantise(kind: QuantType) -> QuantError:
    return QuantError(
        "cannot-quantise", f"{kind.name} can be read but not made; choose a type that llama.cpp can make."
    )


def check_finite(rows: Floats, first_row: int = 0) -> None:
    """float32 (n_rows, n_cols) without NaN and infinity, or QuantError `non-finite-weights` that says where."""
    at = _find_not_finite(rows)
    if at:
        row, column = divmod(at - 1, rows.shape[1])
        raise QuantError(
            "non-finite-weights",
            f"row {first_row + row}, column {column} is {rows[row, column]}. ggml refuses NaN and infinity, and so do "
            "we.",
        )


def _find_not_finite(rows: Floats) -> int:
    """1 + the flat index of the first NaN or infinity, or 0. Both survive min and max, which are quick."""
    kernel = kernels.find("finite", "find_not_finite")
    if kernel is not None:
        return int(kernel(rows))
    if np.isfinite(rows.min()) and np.isfinite(rows.max()):
        return 0
    return 1 + int(np.argmax(~np.isfinite(rows).reshape(-1)))


def _importance(kind: QuantType, rows: Floats, imatrix: Floats) -> Importance:
    n_rows, n_cols = rows.shape
    n_blocks = n_cols // kind.block_size
    weights = np.broadcast_to(imatrix.reshape(1, n_blocks, -1), (n_rows, n_blocks, kind.block_size))
    with np.errstate(all="ignore"):
        # accumulate adds strictly from left to right, as the C loop does; sum() would add in pairs.
        power = np.add.accumulate(rows * rows, axis=1, dtype=np.float32)[:, -1:] / np.float32(n_cols)
    return Importance(weights.reshape(-1, kind.block_size), np.repeat(power, n_blocks, axis=0))


def _check_blocks(kind: QuantType, blocks: Bytes, first: int) -> None:
    for at in kind.scale_at:
        _refuse(kind, blocks[:, at + 1] & 0x7C == 0x7C, first)
    if kind.is_invalid is not None:
        _refuse(kind, kind.is_invalid(blocks), first)


def _refuse(kind: QuantType, is_invalid: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], first: int) -> None:
    if is_invalid.any():
        raise QuantError(
            "scale-overflow",
            f"the scale of block {first + int(np.argmax(is_invalid))} does not fit {kind.name}: its values are "
            "too large. ggml refuses such a block; keep this tensor as F32 or BF16.",
        )
