"""Kernels in machine code: what `@kernel` makes of a function.

A kernel module (`kernels/<type>.py`) has one or both of

    @kernel
    def quantize(rows, weights, out): ...     # float32 (n_rows, n_cols), float32 (n_cols,) or (0,), uint8 -> int
    @kernel
    def dequantize(data, out): ...            # uint8 (n_rows, row_bytes), float32 (n_rows, n_cols)

or, of a plain type, one that takes another plain type in place of float32

    @kernel
    def from_bf16(data, out): ...             # uint8 (n_rows, row_bytes) twice -> int, not 0 for what is refused

and may call functions under `@inner`, in its own file or in another. Arrays are C-contiguous; `rows`, `weights` and
`data` are read-only. `quantize` gives 0, or 1 + the index of a block that ggml would abort on.

Importing such a module takes numba, and compiling a kernel some seconds, so neither happens where its machine code was
kept (caching.py). An object file is all that numba makes here; machine_code.py brings it to life, now and in processes
that never import numba.

Arithmetic is that of the C expressions: no fast-math, no fused multiply-add, no reordering; a division by zero gives
infinity or NaN as in C instead of raising (error_model="numpy"). Kernels check no bounds: the shell around them
(conversion/quants/shell.py) has checked every size.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import binding
from numba import from_dtype, types
from numba.core import compiler, registry, sigutils
from numba.core.codegen import AOTCodeLibrary
from numba.core.compiler_lock import global_compiler_lock

from conversion.quants.kernels import run_time
from conversion.quants.kernels.caching import MachineCode
from conversion.quants.kernels.machine_code import ARGUMENTS, Argument

_OPTIONS = {
    "nopython": True, "error_model": "numpy", "fastmath": False, "boundscheck": False, "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}  # fmt: skip


class Kernel:
    """A function that can be made machine code."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    @global_compiler_lock
    def compiled(self) -> MachineCode:
        """Its machine code; takes seconds. Any thread may ask."""
        action = self.function.__name__
        result = types.void if action == "dequantize" else types.int64
        made = _lowered(self.function, tuple(map(_type_of, ARGUMENTS[action])), result)
        made.library.add_linking_library(_run_time())  # the last, for only what is already missed is taken in
        image = made.library.emit_native_object()
        _check_references(made.library)
        return MachineCode(made.fndesc.llvm_func_name, image)


def kernel(function: Callable[..., Any]) -> Kernel:
    """A kernel of `function`, whose name (`quantize`, `dequantize`, `from_bf16` ...) tells its arguments."""
    return Kernel(function)


def inner(function: Callable[..., Any]) -> Any:
    """A function that kernels may call; there is no way in from Python, and trying would crash.

    It gets no memory of its own, so it counts no users of arrays, and may not give one back. Counting is a call, during
    which no vector can stay in a register: without it Q6_K and Q3_K are quantised a fifth faster.
    """
    return _Part(function, targetoptions=_OPTIONS | {"_nrt": False})


def allocating(function: Callable[..., Any]) -> Any:
    """As `inner`, for what makes arrays for a kernel."""
    return _Part(function, targetoptions=_OPTIONS)


class _Part(registry.CPUDispatcher):  # type: ignore[misc]  # numba has no types
    """Becomes part of kernels, and never machine code of its own: numba would make some, and nobody would call it."""

    @global_compiler_lock
    def compile(self, sig: Any) -> Any:
        arguments, result = sigutils.normalize_signature(sig)
        if tuple(arguments) not in self.overloads:
            name = object()  # what numba's callers know it by, in place of an address
            made = _lowered(self.py_func, arguments, result, self.targetoptions)._replace(entry_point=name)
            if not made.target_context.enable_nrt and _holds_arrays(made):
                raise TypeError(
                    f"{self.py_func.__qualname__} gives back an array, whose users it does not count."
                )
            made.target_context.insert_user_function(name, made.fndesc, [made.library])
            self.overloads[tuple(arguments)] = made
        return self.overloads[tuple(arguments)].entry_point


def _holds_arrays(made: Any) -> bool:
    return bool(made.target_context.data_model_manager[made.signature.return_type].contains_nrt_meminfo())


class _Library(AOTCodeLibrary):  # type: ignore[misc]  # numba has no types
    """LLVM's words, optimised; numba's own library would make them machine code at once, for this process only."""

    def _finalize_final_module(self) -> None:
        self._finalized = True


def _lowered(
    function: Callable[..., Any], arguments: Any, result: Any, options: dict[str, Any] = _OPTIONS
) -> Any:
    """numba's CompileResult, with a library that has taken in everything that it calls."""
    target, flags = registry.cpu_target, compiler.Flags()
    target.options.parse_as_flags(flags, options)
    flags.no_compile = True
    library = _Library(target.target_context.codegen(), function.__qualname__)
    return compiler.compile_extra(
        target.typing_context, target.target_context, function, arguments, result, flags, locals={}, library=library
    )  # fmt: skip


@cache
def _run_time() -> _Library:
    library = _Library(registry.cpu_target.target_context.codegen(), "run_time")
    library.add_llvm_module(binding.parse_assembly(run_time.SOURCE))
    library.finalize()
    return library


def _check_references(library: _Library) -> None:
    """RuntimeError if the machine code needed anything that is only there while numba is."""
    unknown = [
        function.name
        for function in library._final_module.functions
        if function.is_declaration
        and not function.name.startswith("llvm.")
        and function.name not in run_time.OF_C
    ]
    if unknown:
        raise RuntimeError(f"a kernel calls {', '.join(unknown)}, which is not there without numba.")


def _type_of(argument: Argument) -> types.Array:
    kind = from_dtype(argument.dtype)
    return types.Array(kind, argument.n_dimensions, "C", readonly=not argument.is_written)
