"""Vectors as values in kernels: sixteen or more numbers that every operation treats side by side.

LLVM vectorises long loops by itself, but a loop over the 16 or 32 values of one block is unrolled before it gets there
and stays scalar, six to ten times slower. Here a kernel says what it means, and LLVM makes of it whatever registers
the CPU has. A vector is of float32 or of int32; comparing two gives a mask. All arithmetic is that of the elements,
one by one: no fused multiply-add, no reordering.

    x = load_floats(rows, at, 32)                      # rows: float32, one dimension; at: index; 32: a literal
    largest = max_of(bits_of_all(x) & 0x7FFFFFFF)      # a scalar
    store_bytes(out, at, ints_of(x * inverse) & 15)    # the low byte of each

Operators take two vectors, or a vector and a scalar on the right. Indices are trusted, as everywhere in kernels.
"""

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import binding, ir
from numba.core import cgutils
from numba.extending import intrinsic

from conversion.quants.kernels.vector_types import SCALARS, Emit, Vector, splat


def _pointer(context: Any, builder: Any, array_type: Any, arguments: Any, pointee: Any) -> Any:
    """To what lies in the array, the first argument, from the index on that is the second."""
    data = context.make_array(array_type)(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), ir.PointerType(pointee))


_BYTE, _SHORT, _HALF = ir.IntType(8), ir.IntType(16), ir.HalfType()


def _loader(element: str, stored: Any, convert: Emit = lambda builder, vector, kind: vector) -> Any:
    """An intrinsic that loads n elements as they are `stored` and converts them; arrays need no alignment."""

    @intrinsic(prefer_literal=True)
    def load(typing_context: Any, array: Any, at: Any, n: Any) -> Any:
        result = Vector(element, n.literal_value)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointee = ir.VectorType(stored, result.n)
            pointer = _pointer(context, builder, array, arguments, pointee)
            return convert(builder, builder.load(pointer, align=1), result.llvm)

        return result(array, numba.types.int64, n), generate

    return load


def _storer(stored: Any, convert: Emit = lambda builder, vector, kind: vector) -> Any:
    """An intrinsic that converts a vector and stores its elements one after the other."""

    @intrinsic
    def store(typing_context: Any, array: Any, at: Any, vector: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointee = ir.VectorType(stored, vector.n)
            pointer = _pointer(context, builder, array, arguments, pointee)
            builder.store(convert(builder, arguments[2], pointee), pointer, align=1)
            return context.get_dummy_value()

        return numba.types.void(array, numba.types.int64, vector), generate

    return store


load_floats = _loader("float", ir.FloatType())
"""load_floats(float32 array, at, n): n floats from index `at` on."""

load_bytes = _loader("int", _BYTE, lambda builder, vector, kind: builder.zext(vector, kind))
"""load_bytes(uint8 array, at, n): n bytes as ints, 0 ... 255."""

load_signed_bytes = _loader("int", _BYTE, lambda builder, vector, kind: builder.sext(vector, kind))
"""load_signed_bytes(uint8 array, at, n): n bytes as ints, -128 ... 127."""

load_shorts = _loader("int", _SHORT, lambda builder, vector, kind: builder.zext(vector, kind))
"""load_shorts(uint8 array, at, n): n pairs of bytes as ints, 0 ... 65535."""

load_halves = _loader("float", _HALF, lambda builder, vector, kind: builder.fpext(vector, kind))
"""load_halves(uint8 array, at, n): n float16 as floats. Needs bits.HAS_FLOAT16."""

store_floats = _storer(ir.FloatType())
"""store_floats(float32 array, at, floats)."""

store_bytes = _storer(_BYTE, lambda builder, vector, kind: builder.trunc(vector, kind))
"""store_bytes(uint8 array, at, ints): the low byte of each."""

store_shorts = _storer(_SHORT, lambda builder, vector, kind: builder.trunc(vector, kind))
"""store_shorts(uint8 array, at, ints): the low two bytes of each."""

store_halves = _storer(_HALF, lambda builder, vector, kind: builder.fptrunc(vector, kind))
"""store_halves(uint8 array, at, floats): as float16, to nearest, halves to even. Needs bits.HAS_FLOAT16."""


def _unary(element: str, result: str, emit: Callable[[Any, Any, Any], Any]) -> Any:
    """A function of one vector of `element`: a vector of `result`."""

    @intrinsic
    def function(typing_context: Any, vector: Any) -> Any:
        if not isinstance(vector, Vector) or vector.element != element:
            return None
        kind = Vector(result, vector.n)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return emit(builder, arguments[0], kind.llvm)

        return kind(vector), generate

    return function


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    kind = arguments[-1].type
    suffix = f"v{kind.count}{'f32' if kind.element == ir.FloatType() else f'i{kind.element.width}'}"
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(
        cgutils.get_or_insert_function(builder.module, signature, f"{name}.{suffix}"), arguments
    )


floats_of = _unary("int", "float", lambda builder, vector, kind: builder.sitofp(vector, kind))
"""The ints as floats, rounded to nearest."""

ints_of = _unary("float", "int", lambda builder, vector, kind: builder.fptosi(vector, kind))
"""The floats cut off to ints; what is no int32 becomes -2**31 on x86, as in C there."""

bits_of_all = _unary("float", "int", lambda builder, vector, kind: builder.bitcast(vector, kind))
"""The bits of the floats."""

floats_of_bits = _unary("int", "float", lambda builder, vector, kind: builder.bitcast(vector, kind))
"""The floats that have these bits."""

absolute = _unary("float", "float", lambda builder, vector, kind: _call(builder, "llvm.fabs", kind, vector))
"""The magnitudes."""

square_roots = _unary(
    "float", "float", lambda builder, vector, kind: _call(builder, "llvm.sqrt", kind, vector)
)
"""The correctly rounded square roots."""

HAS_ROUNDING = any(binding.get_host_cpu_features().get(name) for name in ("sse4.1", "neon"))
"""Without it LLVM would call a function for each number that is not there."""

whole = _unary("float", "float", lambda builder, vector, kind: _call(builder, "llvm.nearbyint", kind, vector))
"""The nearest whole numbers, halves to even, and -0 as such. Needs HAS_ROUNDING."""


@intrinsic
def chosen(typing_context: Any, mask: Any, left: Any, right: Any) -> Any:
    """The element of `left` where the mask is set, and of `right` elsewhere."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return left(mask, left, left), generate


@intrinsic
def max_of(typing_context: Any, vector: Any) -> Any:
    """The largest of the ints."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "llvm.vector.reduce.smax", ir.IntType(32), arguments[0])

    return numba.types.int32(vector), generate


@intrinsic
def min_of(typing_context: Any, vector: Any) -> Any:
    """The smallest of the ints."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "llvm.vector.reduce.smin", ir.IntType(32), arguments[0])

    return numba.types.int32(vector), generate


@intrinsic
def first_of(typing_context: Any, mask: Any) -> Any:
    """The index of the first element that is set in the mask; the number of elements if none is."""
    n = mask.n

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        width = ir.IntType(n)
        bits = builder.bitcast(arguments[0], width)
        found = builder.cttz(bits, ir.Constant(ir.IntType(1), 0))
        return builder.zext(found, ir.IntType(64)) if n < 64 else builder.trunc(found, ir.IntType(64))

    return numba.types.int64(mask), generate


@intrinsic
def bits_of_mask(typing_context: Any, mask: Any) -> Any:
    """The mask as an integer, its first element the lowest bit."""
    n = mask.n

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], ir.IntType(n))
        return builder.zext(bits, ir.IntType(64)) if n < 64 else bits

    return numba.types.int64(mask), generate


@intrinsic(prefer_literal=True)
def counting(typing_context: Any, n: Any) -> Any:
    """The ints 0, 1, 2, ... n - 1."""
    result = Vector("int", n.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(result.llvm, list(range(result.n)))

    return result(n), generate


@intrinsic(prefer_literal=True)
def all_of(typing_context: Any, scalar: Any, n: Any) -> Any:
    """n times the same float32 or int32."""
    result = Vector("float" if scalar == numba.types.float32 else "int", n.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return splat(builder, arguments[0], result.n)

    return result(SCALARS[result.element], n), generate


def _half_of(upper: bool) -> Any:
    @intrinsic
    def half(typing_context: Any, vector: Any) -> Any:
        size = vector.n // 2
        indices = ir.Constant(ir.VectorType(ir.IntType(32), size), [i + upper * size for i in range(size)])

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.shuffle_vector(arguments[0], arguments[0], indices)

        return Vector(vector.element, size)(vector), generate

    return half


first_half, second_half = _half_of(upper=False), _half_of(upper=True)
"""The first and the last n / 2 elements of a vector."""


@intrinsic(prefer_literal=True)
def load_bits(typing_context: Any, array: Any, at: Any, n: Any) -> Any:
    """load_bits(uint8 array, at, n): n bits as a mask, the first the lowest of the byte at `at`."""
    result = Vector("mask", n.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, array, arguments, ir.IntType(result.n))
        return builder.bitcast(builder.load(pointer, align=1), result.llvm)

    return result(array, numba.types.int64, n), generate


@intrinsic
def pick(typing_context: Any, mask: Any, left: Any, right: Any) -> Any:
    """The scalar `left` where the mask is set, and `right` elsewhere; both float32."""
    result = Vector("float", mask.n)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        both = (splat(builder, scalar, result.n) for scalar in arguments[1:])
        return builder.select(arguments[0], *both)

    return result(mask, SCALARS["float"], SCALARS["float"]), generate


@intrinsic(prefer_literal=True)
def every(typing_context: Any, vector: Any, first: Any, step: Any) -> Any:
    """Every `step`th element from index `first` on; both literals."""
    result = Vector(vector.element, vector.n // step.literal_value)
    indices = [first.literal_value + i * step.literal_value for i in range(result.n)]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        order = ir.Constant(ir.VectorType(ir.IntType(32), result.n), indices)
        return builder.shuffle_vector(arguments[0], arguments[0], order)

    return result(vector, first, step), generate


@intrinsic(prefer_literal=True)
def repeated(typing_context: Any, vector: Any, times: Any) -> Any:
    """Each element `times` times, one after the other; a literal."""
    result = Vector(vector.element, vector.n * times.literal_value)
    indices = [i // times.literal_value for i in range(result.n)]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        order = ir.Constant(ir.VectorType(ir.IntType(32), result.n), indices)
        return builder.shuffle_vector(arguments[0], arguments[0], order)

    return result(vector, times), generate
