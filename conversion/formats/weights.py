"""Weights: tensors by name, whatever container they lie in, read by runs of rows so that memory stays bounded.

Every container gives the same four things: `entries`, `metadata`, `read_rows` and `rows`. A container only has to know
where its bytes lie; turning them into float32 is done here, once for all of them.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.layout import TensorEntry

Rows = npt.NDArray[np.float32]

NUMPY_DTYPES: dict[str, str] = {
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "<i1", "U8": "<u1", "I16": "<i2", "U16": "<u2", "I32": "<i4",
    "U32": "<u4", "I64": "<i8", "U64": "<u8", "BOOL": "<u1",
}  # fmt: skip
"""Dtypes that numpy knows, too; whole numbers beyond 2^24 are rounded to float32."""

WIDENED = {"F16"}
"""Those that have a kernel, which is quicker: numpy takes five times as long for a float16."""


class Weights(Protocol):
    """Tensors by name. A tensor is seen as rows of its last dimension, in row-major order; a scalar is one row of one.

    `entries`: name -> TensorEntry; `dtype` is what is stored (a safetensors dtype or a ggml type name), `shape` is
    row-major. `metadata` is what the container says beside its tensors. Both are settled before any weight is read.
    """

    @property
    def entries(self) -> Mapping[str, TensorEntry]: ...

    @property
    def metadata(self) -> Mapping[str, Any]: ...

    def read_rows(self, name: str, first: int, count: int) -> bytes:
        """The bytes of rows `[first, first + count)` as they are stored."""
        ...

    def rows(self, name: str, first: int, count: int, out: Rows | None = None) -> Rows:
        """The same rows as float32 (count, n_cols). `out`, where given, is filled and returned: a buffer to reuse."""
        ...


def n_columns(entry: TensorEntry) -> int:
    """Values in a row: the last dimension; 1 for a scalar."""
    return entry.shape[-1] if entry.shape else 1


def n_rows(entry: TensorEntry) -> int:
    """Rows of a tensor seen as rows of its last dimension; 1 for a vector and for a scalar."""
    return math.prod(entry.shape[:-1])


def decode_rows(data: bytes | npt.NDArray[np.uint8], entry: TensorEntry, out: Rows | None = None) -> Rows:
    """float32 (n, n_cols) of the bytes of n whole rows of this tensor.

    Exact for every dtype that float32 can hold. Raises HeaderError `unreadable-dtype` for one that nobody here reads.
    """
    flat = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else data
    n_cols = n_columns(entry)
    if entry.dtype in NUMPY_DTYPES and entry.dtype not in WIDENED:
        return _filled(flat.view(NUMPY_DTYPES[entry.dtype]).reshape(-1, n_cols), out)
    from conversion.quants import TYPES, dequantize, dequantize_into

    if entry.dtype not in TYPES:
        raise HeaderError(
            "unreadable-dtype",
            f"{entry.dtype} cannot be turned into numbers yet; it can be kept and listed, not converted.",
            f"tensor {quoted(entry.name)}",
        )
    if out is None:
        return dequantize(flat, entry.dtype, n_cols)
    dequantize_into(TYPES[entry.dtype], flat, out)
    return out


def _filled(values: npt.NDArray[Any], out: Rows | None) -> Rows:
    if out is None:
        return values.astype(np.float32)
    np.copyto(out, values, casting="same_kind" if values.dtype.kind == "f" else "unsafe")
    return out
