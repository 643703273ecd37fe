"""Thirty-two numbers side by side, one per lane: the vectors of vectors.py in the words of block search.

    x = load(scratch, at)                # 32 float32 numbers from scratch[at] on
    level = nearest(x * splat(inverse))  # in every lane
    level = select(level > top, top, level)

A lane holds a block, and each block keeps the order of its own sums: that is how the bytes stay those of ggml's scalar
code, many times faster. LLVM makes of 32 lanes two AVX-512 registers, four of AVX2, eight of SSE2.

Against loops over arrays that LLVM is left to vectorise: no alias checks, sums that stay in registers, and a tenth of
the time to compile (the search of Q4_K: 1 s instead of 11 s for source that a generator unrolled, measured).
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.vector_types import Vector
from conversion.quants.kernels.vectors import (
    absolute,
    bits_of_all,
    bits_of_mask,
    chosen,
    floats_of,
    square_roots,
)  # fmt: skip

WIDTH = 32
"""The search of Q4_K does 148 M elements/s with 16 lanes, 172 with 32, 173 with 64; with AVX2 142, 141, 129. It is also
how many quants of a K-quant lie in consecutive bytes."""

floats, ints, mask = Vector("float", WIDTH), Vector("int", WIDTH), Vector("mask", WIDTH)
select, magnitude, root, to_float, bits_in = chosen, absolute, square_roots, floats_of, bits_of_all

_BYTES = ir.VectorType(ir.IntType(8), WIDTH)
_ALL = (1 << WIDTH) - 1


def _splat(builder: Any, vector: Any, value: Any) -> Any:
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ints.llvm, [0] * WIDTH))


def _splatter(scalar: Any, lanes: Vector) -> Any:
    # An intrinsic rather than a helper around vectors.all_of: numba compiles a helper for every constant it is given.
    @intrinsic
    def splat(typing_context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _splat(builder, lanes.llvm, context.cast(builder, arguments[0], value, scalar))

        return lanes(value), generate

    return splat


splat, splat_int = _splatter(types.float32, floats), _splatter(types.int32, ints)
"""The same float32, or the same int32, in every lane."""


@intrinsic
def halves(typing_context: Any, first: Any, second: Any) -> Any:
    """One float32 in the first sixteen lanes, another in the last sixteen."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.Constant(ints.llvm, [0] * (WIDTH // 2) + [WIDTH] * (WIDTH // 2))
        return builder.shuffle_vector(*(_splat(builder, floats.llvm, value) for value in arguments), lanes)

    return floats(types.float32, types.float32), generate


def _place(builder: Any, data: Any, at: Any, vector: Any) -> Any:
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


_IN_MEMORY = {
    types.float32: (floats, floats.llvm),
    types.int32: (ints, ints.llvm),
    types.uint8: (ints, _BYTES),
}


@intrinsic
def load(typing_context: Any, array: Any, at: Any) -> Any:
    """The 32 numbers from array[at] on, float32 or int32; those of uint8 as int32. Checks no bounds."""
    lanes, vector = _IN_MEMORY[array.dtype]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(array)(context, builder, arguments[0]).data
        loaded = builder.load(_place(builder, data, arguments[1], vector), align=1)
        return builder.zext(loaded, ints.llvm) if vector is _BYTES else loaded

    return lanes(array, types.intp), generate


@intrinsic
def store(typing_context: Any, array: Any, at: Any, lanes: Any) -> Any:
    """Writes the lanes to array[at] and on; of int32 lanes into uint8 the low eight bits. Checks no bounds."""
    expected, vector = _IN_MEMORY[array.dtype]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(array)(context, builder, arguments[0]).data
        value = builder.trunc(arguments[2], _BYTES) if vector is _BYTES else arguments[2]
        builder.store(value, _place(builder, data, arguments[1], vector), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, expected), generate


@inner
def is_any(condition: Any) -> bool:
    """Whether a mask is true in at least one lane."""
    return bits_of_mask(condition) != 0


@inner
def is_all(condition: Any) -> bool:
    """Whether a mask is true in every lane."""
    return bits_of_mask(condition) == _ALL


@intrinsic
def transpose(  # noqa: PLR0917 - numba passes what an intrinsic takes by position
    typing_context: Any, source: Any, starts: Any, offset: Any, target: Any, at: Any
) -> Any:
    """target[at + 32 * e + lane] = source[starts[lane] + offset + e] for e in 0 … 15 and all 32 lanes; all float32.

    Twice, sixteen rows are loaded, and in four rounds blocks of 8, 4, 2 and 1 change places: a quarter of an
    instruction for each number.
    """
    size = WIDTH // 2
    square = ir.VectorType(ir.FloatType(), size)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source_data, starts_data, target_data = (
            context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 1, 3)
        )

        def plus(value: Any, number: int) -> Any:
            return builder.add(value, ir.Constant(ir.IntType(64), number))

        for first in (0, size):
            rows = []
            for lane in range(first, first + size):
                start = builder.load(builder.gep(starts_data, [ir.Constant(ir.IntType(64), lane)]))
                place = builder.add(start, arguments[2])
                rows.append(builder.load(_place(builder, source_data, place, square), align=4))
            for i, row in enumerate(_transposed(builder, rows)):
                place = plus(arguments[4], WIDTH * i + first)
                builder.store(row, _place(builder, target_data, place, square), align=4)
        return context.get_dummy_value()

    return types.void(source, starts, types.intp, target, types.intp), generate


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """As many vectors as each has lanes, a power of two, with lanes and vectors exchanged."""
    rows, size = list(rows), len(rows)
    block = size // 2
    while block:
        upper = [j if not j & block else size + j - block for j in range(size)]
        lower = [j + block if not j & block else size + j for j in range(size)]
        for i in range(size):
            if not i & block:
                pair = rows[i], rows[i + block]
                for k, lanes in ((i, upper), (i + block, lower)):
                    order = ir.Constant(ir.VectorType(ir.IntType(32), size), lanes)
                    rows[k] = builder.shuffle_vector(*pair, order)
        block //= 2
    return rows


@inner
def smaller(a: Any, b: Any) -> Any:
    """a where a < b, else b."""
    return select(a < b, a, b)


@inner
def larger(a: Any, b: Any) -> Any:
    """a where a > b, else b."""
    return select(a > b, a, b)


@inner
def nearest(value: Any) -> Any:
    """ggml's nearest_int in every lane, as int32: exact, also where it is of no use (see rounding.nearest_int)."""
    return (bits_in(value + splat(12582912.0)) & splat_int(0x007FFFFF)) - splat_int(0x00400000)
