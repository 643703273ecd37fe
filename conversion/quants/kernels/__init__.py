"""Which implementation does the work: the compiled kernels beside this file, or numpy. The bytes are the same.

`HOLDFAST_KERNELS` decides:

| value | what happens |
|---|---|
| auto | numpy, until a type has taken about as long as its kernel takes to get; from then on the kernel |
| compiled | always kernels, where a type has them; QuantError `kernels-unavailable` if one cannot be had |
| numpy | never kernels |

Kernels cost nothing until they are used. One that was compiled before takes a millisecond once llvmlite is imported;
numba is imported when one has to be compiled. If that fails, numpy does all the work and `state()` says why. Types
whose numpy code is as quick as any kernel (F32, for one) have none.
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from conversion.quants.base import QuantError
from conversion.quants.kernels import caching
from conversion.quants.kernels.caching import MachineCode, is_cached, kernel_name

SECONDS_TO_LOAD, SECONDS_TO_IMPORT, SECONDS_TO_COMPILE = 0.1, 0.5, 3.0
"""What a kernel costs before its first block: from the cache; or numba itself, once, and compiling."""

MODES = ("auto", "compiled", "numpy")
ACTIONS = ("quantize", "dequantize")
FROM_STORED = {("BF16", "F16"): "from_bf16", ("F16", "BF16"): "from_f16"}
"""(Stored type, type to make) -> the action of the latter that needs no float32 between them."""

FOLDER = Path(__file__).parent
Key = tuple[str, str]


@dataclass
class _Known:
    """What this process knows of its kernels. `loaded` has None for a kernel that does not exist or failed."""

    loaded: dict[Key, Callable[..., Any] | None] = field(default_factory=dict)
    problems: dict[Key, str] = field(default_factory=dict)
    compiling: Key | None = None
    numpy_seconds: dict[Key, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_known = _Known()


def mode() -> str:
    """The value of HOLDFAST_KERNELS; ValueError for one that means nothing."""
    value = os.environ.get("HOLDFAST_KERNELS") or "auto"
    if value not in MODES:
        raise ValueError(f"HOLDFAST_KERNELS is {value!r}; use one of {', '.join(MODES)}.")
    return value


def find(name: str, action: str) -> Callable[..., Any] | None:
    """The kernel to do `action` of the type `name`, or None where numpy is to; may take as long as compiling.

    With `auto`, other threads go on with numpy while one gets the kernel.
    """
    key = (name, action)
    wanted = mode()
    if wanted == "numpy":
        return None
    if key in _known.loaded:
        if wanted == "compiled" and key in _known.problems:
            raise QuantError(
                "kernels-unavailable",
                f"the kernel to {action} {name} cannot be had: {_known.problems[key]}. "
                "Set HOLDFAST_KERNELS=auto to let numpy compute the same bytes.",
            )
        return _known.loaded[key]
    if not has_kernels(name):
        return None
    if wanted == "auto" and _known.numpy_seconds.get(key, 0.0) < price(name, action):
        return None
    return load(name, action, wait=wanted == "compiled") or (
        find(name, action) if wanted == "compiled" else None
    )


def spent(name: str, action: str, seconds: float) -> None:
    """Counts CPU seconds that numpy took for what a kernel might have done."""
    _known.numpy_seconds[name, action] = _known.numpy_seconds.get((name, action), 0.0) + seconds


def price(name: str, action: str) -> float:
    """Seconds until the kernel could start."""
    if is_cached(name, action):
        return SECONDS_TO_LOAD
    return SECONDS_TO_COMPILE + (0.0 if "numba" in sys.modules else SECONDS_TO_IMPORT)


def load(name: str, action: str, *, wait: bool = True) -> Callable[..., Any] | None:
    """The kernel, loaded or compiled now; None if there is none, or if another thread is at it and `wait` is False."""
    key = (name, action)
    if not _known.lock.acquire(blocking=wait):
        return None
    try:
        if key not in _known.loaded:
            _known.compiling = key
            _known.loaded[key] = _loaded(name, action)
        return _known.loaded[key]
    finally:
        _known.compiling = None
        _known.lock.release()


def _loaded(name: str, action: str) -> Callable[..., Any] | None:
    if not has_kernels(name):
        return None
    try:
        from conversion.quants.kernels.machine_code import Loaded, cpu_name

        kernel, cpu = kernel_name(name, action), cpu_name()
        code = caching.find(kernel, cpu)
        if code is None and (code := _compiled(name, action)) is not None:
            caching.keep(kernel, cpu, code)
        return None if code is None else Loaded(action, code)
    except Exception as error:  # Whatever is wrong with the compiler, numpy computes the same bytes.
        _known.problems[name, action] = f"{type(error).__name__}: {error}"
        return None


def _compiled(name: str, action: str) -> MachineCode | None:
    module = importlib.import_module(f"{__name__}.{name.lower()}")
    kernel = getattr(module, action, None)
    return None if kernel is None else kernel.compiled()


@cache
def has_kernels(name: str) -> bool:
    return (FOLDER / f"{name.lower()}.py").is_file()


def state() -> dict[str, dict[str, str]]:
    """Type -> action -> what does the work now: "compiled", "compiling", "cached" (ready to be loaded), "numpy" (until
    a kernel pays), "numpy-only" (there is no kernel), or "numpy: " and why the kernel could not be had.

    Imports nothing and compiles nothing.
    """
    from conversion.quants import TYPES

    return {name: {action: _state_of(name, action) for action in ACTIONS} for name in TYPES}


def _state_of(name: str, action: str) -> str:
    key = (name, action)
    if mode() == "numpy":
        return "numpy"
    if key in _known.problems:
        return f"numpy: {_known.problems[key]}"
    if key in _known.loaded:
        return "compiled" if _known.loaded[key] else "numpy-only"
    if _known.compiling == key:
        return "compiling"
    if not has_kernels(name):
        return "numpy-only"
    return "cached" if is_cached(name, action) else "numpy"
