"""Bits and float16 in kernels, each one machine instruction that works on many lanes at once.

numba widens the integers of bit tricks to 64 bits and has no float16 on CPUs; these say in LLVM's words what is meant.
"""

from typing import Any

import numba
from llvmlite import binding, ir
from numba.extending import intrinsic

from conversion.quants.kernels.compiling import inner

_HALF, _SHORT, _INT, _FLOAT = ir.HalfType(), ir.IntType(16), ir.IntType(32), ir.FloatType()
HAS_FLOAT16 = bool(binding.get_host_cpu_features().get("f16c") or binding.get_host_cpu_features().get("neon"))
"""Without it LLVM would call a function for each conversion that is not there; then float16 goes by bit tricks."""


@intrinsic
def bits_of(typing_context: Any, value: Any) -> Any:
    """The bits of a float32 as int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _INT)

    return numba.types.int32(numba.types.float32), generate


@intrinsic
def float_of(typing_context: Any, bits: Any) -> Any:
    """The float32 that these bits, an int32, are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _FLOAT)

    return numba.types.float32(numba.types.int32), generate


@intrinsic
def _narrowed(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.bitcast(builder.fptrunc(arguments[0], _HALF), _SHORT), _INT)

    return numba.types.int32(numba.types.float32), generate


@intrinsic
def _widened(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(builder.trunc(arguments[0], _SHORT), _HALF), _FLOAT)

    return numba.types.float32(numba.types.int32), generate


@inner
def narrowed_by_bits(value: float) -> int:
    """As `half_of`, on a CPU without float16: to nearest, halves to even, as ggml's own routine rounds."""
    bits = bits_of(value)
    sign, magnitude = (bits >> 16) & 0x8000, bits & 0x7FFFFFFF
    if magnitude > 0x7F800000:
        return numba.int32(sign | 0x7E00)
    if magnitude >= 0x477FF000:  # 65520 and more
        return numba.int32(sign | 0x7C00)
    if magnitude < 0x38800000:  # Below 2**-14: next to a half, the last bit of a float32 is worth 2**-24.
        shifted = float_of(numba.int32(magnitude)) + numba.float32(0.5)
        return numba.int32(sign | (bits_of(shifted) - 0x3F000000))
    return numba.int32(sign | (((magnitude + 0xFFF + ((magnitude >> 13) & 1)) >> 13) - (112 << 10)))


@inner
def widened_by_bits(bits: int) -> float:
    """As `float_of_half`, on a CPU without float16."""
    sign, rest = (bits & 0x8000) << 16, bits & 0x7FFF
    if rest >= 0x7C00:
        return float_of(numba.int32(sign | 0x7F800000 | ((rest & 0x3FF) << 13)))
    if rest < 0x400:
        magnitude = numba.float32(rest) * numba.float32(2.0**-24)
        return -magnitude if sign else magnitude
    return float_of(numba.int32(sign | ((rest << 13) + (112 << 23))))


half_of = _narrowed if HAS_FLOAT16 else narrowed_by_bits
"""half_of(float32) -> int32: the bits of the nearest float16, halves to even, in 0 ... 65535."""

float_of_half = _widened if HAS_FLOAT16 else widened_by_bits
"""float_of_half(int32) -> float32: the value of the float16 with these bits."""


@inner
def get_half(data: Any, at: int) -> float:
    """The float16 at index `at` of uint8 of one dimension, as float32."""
    return float_of_half(numba.int32(data[at]) | (numba.int32(data[at + 1]) << 8))


@inner
def set_half(data: Any, at: int, value: float) -> float:
    """Stores a float32 as float16 at index `at` of uint8 of one dimension; gives back the value it has as float16."""
    bits = half_of(value)
    data[at] = bits & 0xFF
    data[at + 1] = bits >> 8
    return float_of_half(bits)


@inner
def half_at(data: Any, row: int, at: int) -> float:
    """As `get_half`, of uint8 of two dimensions."""
    return get_half(data[row], at)


@inner
def put_half(data: Any, row: int, at: int, value: float) -> float:
    """As `set_half`, of uint8 of two dimensions."""
    return set_half(data[row], at, value)
