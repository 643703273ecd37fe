"""Kernels in machine code: what `@kernel` makes of a function.

A kernel module (`kernels/<type>.py`) has one or both of

    @kernel
    def quantize(rows, weights, out): ...     # float32 (n_rows, n_cols), float32 (n_cols,) or (0,), uint8 -> int
    @kernel
    def dequantize(data, out): ...            # uint8 (n_rows, row_bytes), float32 (n_rows, n_cols)

and may call functions under `@helper`, in its own file or in another. Arrays are C-contiguous; `rows`, `weights` and
`data` are read-only. `quantize` gives 0, or 1 + the index of a block that ggml would abort on. Nothing is compiled at
import: a kernel is taken from the cache (caching.py), or compiled and kept there, when it is first asked for. Where no
cache can be written it is compiled in memory.

Arithmetic is that of the C expressions: no fast-math, no fused multiply-add, no reordering; a division by zero gives
infinity or NaN as in C instead of raising (error_model="numpy"). Kernels check no bounds: the shell around them
(conversion/quants/shell.py) has checked every size.
"""

import hashlib
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding

from conversion.quants.kernels.caching import cache_folder
from conversion.quants.kernels.naming import unmistakable

_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": False, "boundscheck": False}
_cache_dir_lock = threading.Lock()


class Kernel:
    """A function that becomes machine code when it is first called; any number of threads may call it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._dispatcher: Any = None
        self._lock = threading.Lock()

    def load(self) -> Any:
        """The machine code, from the cache or compiled now; other threads wait for the first."""
        with self._lock:
            if self._dispatcher is None:
                self._dispatcher = _compiled(self.function)
        return self._dispatcher

    def __call__(self, *arguments: Any) -> Any:
        return (self._dispatcher or self.load())(*arguments)


def kernel(function: Callable[..., Any]) -> Kernel:
    """A kernel of `function`, whose name (`quantize`, `dequantize` or `find_not_finite`) tells its arguments."""
    return Kernel(function)


def helper(function: Callable[..., Any]) -> Any:
    """A function that kernels may call; it becomes part of their machine code and is never compiled by itself."""
    return numba.njit(**_OPTIONS)(unmistakable(function))


def inner(function: Callable[..., Any]) -> Any:
    """As `helper`, and a third quicker to compile where many call each other (Q4_K: 4 s instead of 6), for what Python
    never calls itself: there is no way in from Python, and trying would crash."""
    return numba.njit(**_OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)(unmistakable(function))


@cache
def cpu_name() -> str:
    """The CPU and a digest of what it can do: `znver4-1f0c…`."""
    features = binding.get_host_cpu_features().flatten()
    return f"{binding.get_host_cpu_name()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"


def _compiled(function: Callable[..., Any]) -> Any:
    """A dispatcher for one signature only, so that no call can ever start another compilation."""
    folder = cache_folder(cpu_name())
    dispatcher = numba.njit(**_OPTIONS)(function)
    if folder is not None:
        _keep_in(dispatcher, folder)
    try:
        dispatcher.compile(_signature(function))
    except Exception:
        if folder is None:
            raise
        # A file in the cache that is damaged or cannot be read back says nothing about the kernel itself.
        dispatcher = numba.njit(**_OPTIONS)(function)
        dispatcher.compile(_signature(function))
    dispatcher.disable_compile()
    return dispatcher


def _keep_in(dispatcher: Any, folder: Path) -> None:
    # numba reads this setting once, while it enables the cache of one function.
    with _cache_dir_lock:
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
        try:
            dispatcher.enable_caching()
        finally:
            numba.config.CACHE_DIR = before


def _signature(function: Callable[..., Any]) -> Any:
    rows = numba.types.Array(numba.types.float32, 2, "C", readonly=True)
    weights = numba.types.Array(numba.types.float32, 1, "C", readonly=True)
    data = numba.types.Array(numba.types.uint8, 2, "C", readonly=True)
    signatures = {
        "quantize": numba.types.int64(rows, weights, data.copy(readonly=False)),
        "dequantize": numba.types.void(data, rows.copy(readonly=False)),
        "find_not_finite": numba.types.int64(rows),
    }
    return signatures[function.__name__]
