"""Quantization types, bit for bit as llama.cpp's baseline x86-64 build computes them.

A new type is one file here, one test file and one line in `TYPES`. `quantize` and `dequantize` are the stable doors.
"""

from conversion.quants.base import Bytes, Floats, QuantError, QuantType
from conversion.quants.bf16 import BF16
from conversion.quants.f8_e4m3 import F8_E4M3
from conversion.quants.f8_e5m2 import F8_E5M2
from conversion.quants.f16 import F16
from conversion.quants.f32 import F32
from conversion.quants.ik import TYPES as IK_TYPES
from conversion.quants.iq1_m import IQ1_M
from conversion.quants.iq1_s import IQ1_S
from conversion.quants.iq2_s import IQ2_S
from conversion.quants.iq2_xs import IQ2_XS
from conversion.quants.iq2_xxs import IQ2_XXS
from conversion.quants.iq3_s import IQ3_S
from conversion.quants.iq3_xxs import IQ3_XXS
from conversion.quants.iq4_nl import IQ4_NL
from conversion.quants.iq4_xs import IQ4_XS
from conversion.quants.mxfp4 import MXFP4
from conversion.quants.nvfp4 import NVFP4
from conversion.quants.q1_0 import Q1_0
from conversion.quants.q2_0 import Q2_0
from conversion.quants.q2_k import Q2_K
from conversion.quants.q3_k import Q3_K
from conversion.quants.q4_0 import Q4_0
from conversion.quants.q4_1 import Q4_1
from conversion.quants.q4_k import Q4_K
from conversion.quants.q5_0 import Q5_0
from conversion.quants.q5_1 import Q5_1
from conversion.quants.q5_k import Q5_K
from conversion.quants.q6_k import Q6_K
from conversion.quants.q8_0 import Q8_0
from conversion.quants.shell import (
    check_finite,
    converter,
    dequantize_into,
    dequantize_rows,
    quantize_into,
    quantize_rows,
)
from conversion.quants.tq1_0 import TQ1_0
from conversion.quants.tq2_0 import TQ2_0

__all__ = [
    "TYPES",
    "QuantError",
    "QuantType",
    "check_finite",
    "converter",
    "dequantize",
    "dequantize_into",
    "quantize",
    "quantize_into",
    "row_bytes",
    "type_by_name",
]

TYPES: dict[str, QuantType] = {
    "F32": F32,
    "F16": F16,
    "BF16": BF16,
    "F8_E4M3": F8_E4M3,
    "F8_E5M2": F8_E5M2,
    "Q8_0": Q8_0,
    "Q4_0": Q4_0,
    "Q4_1": Q4_1,
    "Q5_0": Q5_0,
    "Q5_1": Q5_1,
    "Q1_0": Q1_0,
    "Q2_0": Q2_0,
    "MXFP4": MXFP4,
    "NVFP4": NVFP4,
    "TQ1_0": TQ1_0,
    "TQ2_0": TQ2_0,
    "Q2_K": Q2_K,
    "Q3_K": Q3_K,
    "Q4_K": Q4_K,
    "Q5_K": Q5_K,
    "Q6_K": Q6_K,
    "IQ1_S": IQ1_S,
    "IQ1_M": IQ1_M,
    "IQ2_XXS": IQ2_XXS,
    "IQ2_XS": IQ2_XS,
    "IQ2_S": IQ2_S,
    "IQ3_XXS": IQ3_XXS,
    "IQ3_S": IQ3_S,
    "IQ4_NL": IQ4_NL,
    "IQ4_XS": IQ4_XS,
    **IK_TYPES,
}


def type_by_name(type_name: str) -> QuantType:
    """The type ggml spells so; QuantError `unknown-type` lists what there is."""
    if type_name not in TYPES:
        raise QuantError("unknown-type", f"quantization type {type_name!r} is not one of {', '.join(TYPES)}.")
    return TYPES[type_name]


def row_bytes(type_name: str, n_cols: int) -> int:
    """Bytes of one row of `n_cols` values; QuantError `row-not-divisible` unless blocks divide it."""
    return type_by_name(type_name).row_bytes(n_cols)


def quantize(rows: Floats, type_name: str, imatrix: Floats | None = None, *, n_threads: int = 1) -> Bytes:
    """uint8 (n_rows, bytes_per_row) of float32 (n_rows, n_cols); `imatrix` is float32 (n_cols,) or None.

    Raises QuantError for what ggml refuses: NaN, infinity, values too large for the type, rows blocks do not divide.
    The bytes are the same for any number of threads, and with or without compiled kernels (conversion.quants.kernels).
    """
    return quantize_rows(type_by_name(type_name), rows, imatrix, n_threads)


def dequantize(data: Bytes, type_name: str, n_cols: int, *, n_threads: int = 1) -> Floats:
    """float32 (n_rows, n_cols) of uint8 (n_rows, bytes_per_row)."""
    return dequantize_rows(type_by_name(type_name), data, n_cols, n_threads)
