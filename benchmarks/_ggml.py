"""ggml's own quantisers, called as llama-quantize calls them: the peer of our kernels."""

import ctypes
import importlib.util
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

NUMBERS = {kind.name: kind.value for kind in gguf.GGMLQuantizationType} | {"Q2_0": 42}
"""Every type's number in ggml.h; the gguf package does not know the newest."""


class Ggml:
    """A shared library that exports ggml's C interface.

    `path`, or llama-cpp-python's libggml-base, which pip builds from source, or the wheel that test inference is pinned
    to. All hold the same C code, compiled for baseline x86-64.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = Path(path) if path else _library()
        self._library = ctypes.CDLL(str(self.path))
        self._library.ggml_row_size.restype = ctypes.c_size_t
        self._library.ggml_quantize_chunk.restype = ctypes.c_size_t

    @property
    def name(self) -> str:
        return f"ggml of {self.path.parent.parent.name if self.path.parent.name == 'lib' else self.path.parent.name}"

    def quantizer(
        self, type_name: str, rows: np.ndarray, imatrix: np.ndarray | None
    ) -> Callable[[], np.ndarray]:
        """A call that quantises all rows into an array of its own, and gives that array."""
        number, (n_rows, n_cols) = NUMBERS[type_name], rows.shape
        out = np.empty((n_rows, self._library.ggml_row_size(number, ctypes.c_int64(n_cols))), dtype=np.uint8)
        weights = None if imatrix is None else imatrix.ctypes.data_as(ctypes.c_void_p)
        arguments = (
            number, rows.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(0),
            ctypes.c_int64(n_rows), ctypes.c_int64(n_cols), weights,
        )  # fmt: skip

        def run() -> np.ndarray:
            self._library.ggml_quantize_chunk(*arguments)
            return out

        return run

    def dequantizer(self, type_name: str, data: np.ndarray, n_cols: int) -> Callable[[], np.ndarray] | None:
        """A call that decodes all rows into an array of its own; None if the library cannot read the type."""
        read = getattr(self._library, _reader(type_name), None)
        if read is None:
            return None
        out = np.empty((len(data), n_cols), dtype=np.float32)
        source, target = data.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p)

        def run() -> np.ndarray:
            read(source, target, ctypes.c_int64(out.size))
            return out

        return run


def _reader(type_name: str) -> str:
    """ggml's name for the function that reads a type: dequantize_row_q4_K, dequantize_row_iq2_xxs, ..."""
    if type_name in ("F16", "BF16"):
        return {"F16": "ggml_fp16_to_fp32_row", "BF16": "ggml_bf16_to_fp32_row"}[type_name]
    lower = type_name.lower()
    return "dequantize_row_" + (lower[:-1] + "K" if lower.endswith("_k") else lower)


def _library() -> Path:
    for package, pattern in (("llama_cpp", "lib/libggml-base.so"), ("xllamacpp", "*.so")):
        spec = importlib.util.find_spec(package)
        if spec and spec.submodule_search_locations:
            found = sorted(Path(next(iter(spec.submodule_search_locations))).glob(pattern))
            if found:
                return found[0]
    raise SystemExit(
        "no ggml to compare with: install llama-cpp-python or xllamacpp, or name one with --ggml"
    )
