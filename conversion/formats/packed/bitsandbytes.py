"""bitsandbytes: four bits by a table (NF4, FP4), or LLM.int8.

Four bits, X.weight is uint8 (n / 2, 1), the first value in the high four bits, row-major; with it

| tensor | what |
|---|---|
| X.weight.quant_state.bitsandbytes__nf4 (or __fp4) | JSON as uint8: shape, dtype, blocksize, nested_* |
| X.weight.quant_map | float32 (16,): the value of each of the sixteen codes |
| X.weight.absmax | float32 (n_blocks,), or uint8 codes where the scales are themselves quantised |
| X.weight.nested_quant_map, X.weight.nested_absmax | float32 (256,) and one scale per nested_blocksize codes |

value = quant_map[code] * absmax[block], rounded to the dtype that the state names, as bitsandbytes does.
Eight bits: X.weight is int8 (n_out, n_in), X.SCB float32 (n_out,); value = weight * SCB / 127.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.packed.base import Found, Made, expect_shape, part, read_all, read_floats
from conversion.formats.weights import Rows, Weights

STATE = ".quant_state.bitsandbytes__"
MAX_STATE_BYTES = 4096
DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}


@dataclass(frozen=True)
class _State:
    shape: tuple[int, int]
    dtype: str
    block_size: int
    nested_block_size: int
    nested_offset: float


def find_bitsandbytes(weights: Weights, config: Mapping[str, Any]) -> Found:
    found: Found = {}
    for name in weights.entries:
        if STATE in name:
            plain = name.partition(STATE)[0]
            found[plain] = _four_bits(weights, plain, name)
        elif name.endswith(".SCB"):
            plain = name.removesuffix("SCB") + "weight"
            found[plain] = _eight_bits(weights, plain, name)
        elif name.endswith(".weight_format"):
            found[name] = None
    return found


def _eight_bits(weights: Weights, plain: str, scale_name: str) -> Made:
    entry = part(weights, plain, "I8")
    expect_shape(part(weights, scale_name, "F32"), entry.shape[0])

    def rows(first: int, count: int) -> Rows:
        scales = read_floats(weights, scale_name)[first : first + count, None]
        return weights.rows(plain, first, count) * (scales / np.float32(127))

    return Made(entry.shape, rows, (plain, scale_name))


def _four_bits(weights: Weights, plain: str, state_name: str) -> Made:
    state = _read_state(weights, state_name)
    n_values = state.shape[0] * state.shape[1]
    n_blocks = -(-n_values // state.block_size)
    packed = part(weights, plain, "U8")
    if packed.n_elements != -(-n_values // 2) or state.shape[1] % 2:
        raise HeaderError(
            "packed-shape",
            f"{packed.n_elements} bytes are not {state.shape} four-bit values",
            f"tensor {quoted(plain)}",
        )
    expect_shape(part(weights, f"{plain}.quant_map", "F32"), 16)
    parts = [plain, state_name, f"{plain}.quant_map", f"{plain}.absmax"]
    absmax = part(weights, f"{plain}.absmax", "F32", "U8")
    expect_shape(absmax, n_blocks)
    if absmax.dtype == "U8":
        expect_shape(part(weights, f"{plain}.nested_quant_map", "F32"), 256)
        expect_shape(part(weights, f"{plain}.nested_absmax", "F32"), -(-n_blocks // state.nested_block_size))
        parts += [f"{plain}.nested_quant_map", f"{plain}.nested_absmax"]
    return Made(state.shape, partial(_four_bit_rows, weights, plain, state), tuple(parts))


def _four_bit_rows(weights: Weights, plain: str, state: _State, first: int, count: int) -> Rows:
    n_cols = state.shape[1]
    start, n_values = first * n_cols, count * n_cols
    packed = _flat_bytes(weights, plain, start // 2, n_values // 2)
    codes = np.stack([packed >> 4, packed & 15], axis=-1).reshape(-1)
    blocks = np.arange(start, start + n_values) // state.block_size
    scales = _absmax(weights, plain, state, int(blocks[0]), int(blocks[-1]) + 1)
    values = read_floats(weights, f"{plain}.quant_map")[codes] * scales[blocks - blocks[0]]
    return _rounded(values, state.dtype).reshape(count, n_cols)


def _flat_bytes(weights: Weights, plain: str, start: int, count: int) -> npt.NDArray[np.uint8]:
    """Bytes of a tensor whose rows are single bytes, (n, 1), or that is one long row, (1, n)."""
    if weights.entries[plain].shape[-1] == 1:
        return np.frombuffer(weights.read_rows(plain, start, count), np.uint8)
    flat: npt.NDArray[np.uint8] = read_all(weights, plain).reshape(-1)
    return flat[start : start + count]


def _absmax(weights: Weights, plain: str, state: _State, first: int, last: int) -> Rows:
    stored = read_all(weights, f"{plain}.absmax")[first:last]
    if stored.dtype == np.float32:
        return np.asarray(stored, np.float32)
    nested = read_floats(weights, f"{plain}.nested_absmax")
    scales = nested[np.arange(first, last) // state.nested_block_size]
    values: Rows = read_floats(weights, f"{plain}.nested_quant_map")[stored]
    return values * scales + np.float32(state.nested_offset)


def _rounded(values: Rows, dtype: str) -> Rows:
    from conversion.quants import dequantize, quantize

    return values if dtype == "F32" else dequantize(quantize(values[None], dtype), dtype, values.size)[0]


def _read_state(weights: Weights, name: str) -> _State:
    entry = part(weights, name, "U8")
    if entry.length > MAX_STATE_BYTES:
        raise HeaderError("packed-state", f"it has {entry.length} bytes", f"tensor {quoted(name)}")
    try:
        said = json.loads(read_all(weights, name).tobytes())
        rows, cols = said["shape"]
        state = _State(
            (int(rows), int(cols)),
            DTYPES[said["dtype"]],
            int(said["blocksize"]),
            int(said.get("nested_blocksize", 256)),
            float(said.get("nested_offset", 0.0)),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HeaderError(
            "packed-state", f"it is not a quantization state: {error!r:.100}", f"tensor {quoted(name)}"
        ) from error
    if min(*state.shape, state.block_size, state.nested_block_size) < 1:
        raise HeaderError("packed-state", "it states a size below one", f"tensor {quoted(name)}")
    return state
