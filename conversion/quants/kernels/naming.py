"""Names that tell functions apart which a factory has made.

numba calls a compiled function by its module, its name, the types of its arguments, and a number that counts up in each
process. What a factory makes twice has one name; if two processes compile a kernel each, the numbers may agree, too.
A third process, which takes both from the cache, then has two functions of one name, and the linker uses the first for
both: BF16 was written as F16 here. So the name of such a function has a digest of what it closes over.
"""

import hashlib
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np


def unmistakable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function; if it closes over anything, its name now depends on that."""
    if getattr(function, "__closure__", None):
        function.__qualname__ += "_" + hashlib.sha256(_identity(function).encode()).hexdigest()[:16]
    return function


def _identity(value: Any) -> str:
    """The same in every process for the same value, and another for another."""
    value = getattr(value, "py_func", getattr(value, "_defn", value))  # what numba has wrapped
    if isinstance(value, FunctionType):
        cells = [_identity(cell.cell_contents) for cell in value.__closure__ or ()]
        return f"{value.__module__}.{value.__qualname__}:{value.__code__.co_firstlineno}({', '.join(cells)})"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_identity, value))})"
    text = repr(value)
    if " at 0x" in text:
        raise TypeError(f"{text} is another in every process: a kernel cannot be cached that depends on it.")
    return text
