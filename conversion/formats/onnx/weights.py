"""The weights of an ONNX file as `Weights`: by name, read by runs of rows, wherever their values lie."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.layout import TensorEntry, row_range
from conversion.formats.onnx.model import OnnxModel, read_model
from conversion.formats.onnx.tensors import VARINTS, OnnxTensor, size_bytes
from conversion.formats.onnx.wire import read_varints
from conversion.formats.source import ByteSource, read_exactly
from conversion.formats.weights import NUMPY_DTYPES, Rows, decode_rows

MAX_VARINT_TENSOR_BYTES = 64 * 2**20
"""Whole numbers as varints are shapes and indices, or the bits of 16-bit floats; larger tensors are raw bytes."""

_BIT_PATTERNS = {"F16": "<u2", "BF16": "<u2"}
"""Floats that int32_data holds as their bits."""


@dataclass(frozen=True)
class OnnxWeights:
    """Every tensor of weights, by name; texts, shapes, indices and single numbers are in `model.tensors` alone.

    `sources` are the ONNX file and those beside it.
    """

    model: OnnxModel
    path: str
    sources: Mapping[str, ByteSource] = field(repr=False)
    entries: dict[str, TensorEntry] = field(init=False)
    _held: dict[str, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        kept = (tensor for tensor in self.model.tensors.values() if _is_weight(tensor))
        object.__setattr__(self, "entries", {tensor.name: _entry(tensor) for tensor in kept})

    @property
    def metadata(self) -> Mapping[str, Any]:
        model = self.model
        return {"ir_version": model.ir_version, "producer": model.producer, "opsets": dict(model.opsets)}

    def read_rows(self, name: str, first: int, count: int) -> bytes:
        """The bytes of rows `[first, first + count)` as memory has them, little-endian."""
        return self.read_bytes(name, *row_range(self.entries[name], first, count))

    def read_bytes(self, name: str, start: int, length: int) -> bytes:
        """`length` bytes of a tensor, as memory has it, from its byte `start` on."""
        tensor = self.model.tensors[name]
        if tensor.place == VARINTS:
            return self._unpacked(tensor)[start : start + length]
        what = f"tensor {quoted(name)}"
        return read_exactly(
            self._source(tensor), tensor.start + start, length, code="onnx-truncated", what=what
        )

    def rows(self, name: str, first: int, count: int, out: Rows | None = None) -> Rows:
        """The same rows as float32 (count, n_cols); `out`, where given, is filled and returned."""
        return decode_rows(self.read_rows(name, first, count), self.entries[name], out)

    def _source(self, tensor: OnnxTensor) -> ByteSource:
        return self.sources[tensor.location or self.path]

    def _unpacked(self, tensor: OnnxTensor) -> bytes:
        """All values of a tensor that is stored as varints; kept until another one is asked for."""
        held = self._held.get(tensor.name)
        if held is None:  # threads may meet here: then both unpack it, and either is right
            held = self._unpack(tensor)
            self._held.clear()
            self._held[tensor.name] = held
        return held

    def _unpack(self, tensor: OnnxTensor) -> bytes:
        """HeaderError `onnx-tensor` if there are more or fewer than the shape says."""
        dtype = np.dtype(_BIT_PATTERNS.get(tensor.dtype, NUMPY_DTYPES.get(tensor.dtype, "<u1")))
        expected, parts, n_bytes = self.entries[tensor.name].length, [], 0
        for values in read_varints(self._source(tensor), tensor.start, tensor.start + tensor.length):
            parts.append(values.astype(dtype).tobytes())
            n_bytes += len(parts[-1])
            if n_bytes > expected:
                break
        if n_bytes != expected:
            what = f"tensor {quoted(tensor.name)}"
            raise HeaderError("onnx-tensor", f"it has not the values that {tensor.shape} says it has", what)
        return b"".join(parts)


def _is_weight(tensor: OnnxTensor) -> bool:
    """Graphs are full of small constants, many of them 0: none of those was trained. Rows must fill whole bytes."""
    n_rows = math.prod(tensor.shape[:-1])
    if (
        tensor.dtype == "STRING"
        or tensor.n_elements < 2
        or size_bytes(tensor.dtype, tensor.n_elements) % n_rows
    ):
        return False
    return tensor.dtype not in ("I64", "I32", "U64", "U32", "BOOL") or len(tensor.shape) > 1


def _entry(tensor: OnnxTensor) -> TensorEntry:
    if tensor.place == VARINTS and tensor.length > MAX_VARINT_TENSOR_BYTES:
        raise HeaderError(
            "onnx-tensor",
            f"{tensor.length} bytes of varints; at most {MAX_VARINT_TENSOR_BYTES} are read",
            f"tensor {quoted(tensor.name)}",
        )
    length = size_bytes(tensor.dtype, tensor.n_elements)
    return TensorEntry(tensor.name, tensor.dtype, tensor.shape, tensor.start, length)


def open_onnx(path: str, sources: Mapping[str, ByteSource]) -> OnnxWeights:
    """The weights of the ONNX file `path` among these; each range checked against the file that it names.

    HeaderError `onnx-external-missing` where a file is not there, `onnx-external-short` where it ends too early.
    """
    model = read_model(sources[path])
    for tensor in model.tensors.values():
        if not tensor.location:
            continue
        if tensor.location not in sources:
            raise HeaderError(
                "onnx-external-missing",
                f"its values are in {quoted(tensor.location)}, which is not here",
                f"tensor {quoted(tensor.name)}",
            )
        size = sources[tensor.location].size_bytes
        if tensor.start + tensor.length > size:
            raise HeaderError(
                "onnx-external-short",
                f"it ends at byte {tensor.start + tensor.length} of {quoted(tensor.location)}, which has {size} bytes",
                f"tensor {quoted(tensor.name)}",
            )
    return OnnxWeights(model, path, sources)


def files_beside(path: Path, model: OnnxModel) -> dict[str, Path]:
    """Location -> file for all the weights outside; none that leads out of the folder, by a link or otherwise.

    HeaderError `onnx-external-path`. A file that is not there is left out: `open_onnx` says so.
    """
    folder, found = path.resolve().parent, {}
    for location in model.locations:
        file = folder / location
        if not file.resolve().is_relative_to(folder):
            raise HeaderError(
                "onnx-external-path", f"{quoted(location)} is a link that leads out of the model's folder"
            )
        if file.is_file():
            found[location] = file
    return found
