"""Machine code that was compiled before, made callable by llvmlite alone: numba takes ten times as long to import.

A kernel's object file stands for itself: it refers to nothing but C's library (compiling.py sees to that), and each is
linked alone, so that two kernels never take each other's parts. Its entry is numba's function, called as numba does:

    int32 entry(result *, exception **, for each array: owner, parent, size, item size, data, shape ..., strides ...)

It gives 0 if all went well. Neither owner nor parent is needed for arrays that outlive the call, so both are null.
"""

import hashlib
import threading
from collections.abc import Callable
from ctypes import CFUNCTYPE, byref, c_int32, c_int64, c_void_p
from functools import cache
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding

from conversion.quants.kernels.caching import MachineCode


class Argument(NamedTuple):
    """A C-contiguous array that a kernel takes, and whether it writes to it."""

    dtype: np.dtype[Any]
    n_dimensions: int
    is_written: bool = False


_FLOATS, _BYTES = np.dtype(np.float32), np.dtype(np.uint8)

ARGUMENTS: dict[str, tuple[Argument, ...]] = {
    "quantize": (Argument(_FLOATS, 2), Argument(_FLOATS, 1), Argument(_BYTES, 2, is_written=True)),
    "dequantize": (Argument(_BYTES, 2), Argument(_FLOATS, 2, is_written=True)),
    "find_not_finite": (Argument(_FLOATS, 2),),
    "from_bf16": (Argument(_BYTES, 2), Argument(_BYTES, 2, is_written=True)),
    "from_f16": (Argument(_BYTES, 2), Argument(_BYTES, 2, is_written=True)),
}
"""What a kernel does -> its arguments. All give an int64, 0 for those that have nothing to say."""


@cache
def cpu_name() -> str:
    """The CPU and a digest of what it can do: `znver4-1f0c…`."""
    features = binding.get_host_cpu_features().flatten()
    return f"{binding.get_host_cpu_name()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"


_DATA = object.__basicsize__
"""Where an array has the address of its data: right after what all objects have (numpy's ABI: PyArray_DATA). To ask for
array.ctypes.data takes 1 us, as long as BF16 takes for 16 K values."""


class Loaded:
    """A kernel in memory; any number of threads may call it, and each lets go of the GIL for as long."""

    def __init__(self, action: str, code: MachineCode) -> None:
        self._arguments = ARGUMENTS[action]
        self._tracker = _linked(code)  # the code is there for as long as this is
        self._call = _prototype(action)(self._tracker[code.symbol])

    def __call__(self, *arrays: np.ndarray) -> int:
        result, exception = c_int64(), c_void_p()
        parts: list[Any] = [byref(result), byref(exception)]
        for array, argument in zip(arrays, self._arguments, strict=True):
            dtype, n_dimensions, is_written = argument
            flags = array.flags
            if (
                array.dtype != dtype
                or array.ndim != n_dimensions
                or not (flags.c_contiguous and flags.aligned and (flags.writeable or not is_written))
            ):
                raise TypeError(f"a kernel takes {argument}, not {array.dtype} {array.shape} that is {flags}")
            data = c_int64.from_address(id(array) + _DATA).value
            parts += (None, None, array.size, dtype.itemsize, data, *array.shape, *array.strides)
        if self._call(*parts):
            raise MemoryError("a kernel got no memory for what it works in.")
        return result.value


@cache
def _prototype(action: str) -> Callable[[int], Any]:
    kinds: list[Any] = [c_void_p, c_void_p]
    for argument in ARGUMENTS[action]:
        kinds += [c_void_p, c_void_p, c_int64, c_int64, c_void_p, *[c_int64] * (2 * argument.n_dimensions)]
    return CFUNCTYPE(c_int32, *kinds)


_lock, _numbers = threading.Lock(), count()


def _linked(code: MachineCode) -> Any:
    """The object file in memory, in a library of its own."""
    with _lock:
        library = binding.JITLibraryBuilder().add_object_img(code.image).add_current_process()
        return library.export_symbol(code.symbol).link(_linker(), f"kernel-{next(_numbers)}")


@cache
def _linker() -> Any:
    binding.initialize_native_target()
    return binding.create_lljit_compiler()
