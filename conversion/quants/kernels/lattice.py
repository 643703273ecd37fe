"""What the kernels of the lattice types share: the tables in the form a kernel reads, and the search in them.

A code of eight digits 0, 1, 2 has two bits for each, so it says itself which digits are 1 (the low bit) and which are
2 (the high bit). Distances are summed in the order of the digits, as in C, for sixteen neighbours side by side.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from conversion.quants.grids import grid
from conversion.quants.kernels.bits import bits_of
from conversion.quants.kernels.compiling import inner
from conversion.quants.kernels.vectors import load_floats, store_floats
from conversion.quants.lattice import SIGN_FACTORS

SIDE = 16
"""Lists of neighbours are filled up to a multiple of this by repeating the first, which then never wins."""
COUNT_BITS = 5
MOST_NEIGHBOURS = SIDE << COUNT_BITS
FLT_MAX = 0x7F7FFFFF
"""The bits of the largest float32: only smaller distances count, as in ggml. NaN and infinity are larger."""

_MAGIC = np.float32(12582912.0)
_CODES, _INTS = ir.VectorType(ir.IntType(16), SIDE), ir.VectorType(ir.IntType(32), SIDE)
_FLOATS, _GROUP = ir.VectorType(ir.FloatType(), SIDE), ir.VectorType(ir.FloatType(), 8)


def tables(type_name: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16]]:
    """(entry, codes): entry[code] is the number of a point, or, below zero, -1 - (where << COUNT_BITS | how many).

    `where` and `how many` count runs of SIDE neighbours in `codes`, the codes of the neighbours in ggml's order.
    """
    found = grid(type_name)
    shifts = 2 * np.arange(8)
    point_codes = (found.digits.astype(np.int64) << shifts).sum(axis=1).astype(np.uint16)
    beside = np.flatnonzero(found.count)
    count = found.count[beside].astype(np.int64)
    runs = -(-count // SIDE)
    where = np.cumsum(runs) - runs
    codes = np.repeat(point_codes[found.neighbours[found.first[beside]]], runs * SIDE)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    listed = found.neighbours[np.repeat(found.first[beside], count) + number]
    codes[np.repeat(where * SIDE, count) + number] = point_codes[listed]
    entry = found.point_at.copy()
    entry[beside] = -1 - (where << COUNT_BITS | runs)
    return entry, codes


@inner
def nearest(value: float) -> int:
    """ggml's nearest_int, with the very bits it gives where it overflows."""
    return numba.int32((bits_of(value + _MAGIC) & numba.int32(0x007FFFFF)) - numba.int32(0x00400000))


@inner
def neighbour(  # noqa: PLR0917 - by position, as numba inlines it best
    codes: Any, run: int, values: Any, x: int, weight: int, levels: Any
) -> int:
    """The code of the best neighbour of a group, -1 if every distance overflows (then ggml aborts).

    run: `where` and `how many`, as in `tables`. x, weight: where in `values` the group and its weights are. levels:
    what the digits 0, 1 and 2 stand for, scale and all.
    """
    first, n_runs = numba.int64(run >> COUNT_BITS) * SIDE, numba.int64(run & ((1 << COUNT_BITS) - 1))
    found = _first_nearest(codes, first, n_runs, values, numba.int64(x), numba.int64(weight), levels)
    return numba.int32(codes[numba.uint64(first + found)]) if found >= 0 else numba.int32(-1)


@intrinsic
def _first_nearest(  # noqa: PLR0917 - numba passes what an intrinsic takes by position
    typing_context: Any, codes: Any, first: Any, n_runs: Any, values: Any, x: Any, weight: Any, levels: Any
) -> Any:
    """How far from `first` the first of the nearest neighbours is, -1 if no distance is below FLT_MAX.

    Written in vectors, SIDE neighbours side by side: lists are so short that LLVM's own vector loops, unrolled and
    with a remainder, spend most of their time outside (1.6 times slower in all).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes_at, x_at, weight_at = (
            builder.gep(
                context.make_array(signature.args[array])(context, builder, arguments[array]).data,
                [arguments[at]],
            )
            for array, at in ((0, 1), (3, 4), (3, 5))
        )
        costs = [
            _level_costs(builder, x_at, weight_at, builder.extract_value(arguments[6], digit))
            for digit in range(3)
        ]
        least = cgutils.alloca_once_value(builder, ir.Constant(_INTS, [FLT_MAX] * SIDE))
        found = cgutils.alloca_once_value(builder, ir.Constant(_INTS, [0] * SIDE))
        with cgutils.for_range(builder, arguments[2]) as loop:
            where = builder.gep(codes_at, [builder.mul(loop.index, loop.index.type(SIDE))])
            listed = builder.load(builder.bitcast(where, _CODES.as_pointer()), align=2)
            bits = builder.bitcast(_distances(builder, listed, costs), _INTS)
            bits = builder.and_(bits, ir.Constant(_INTS, [0x7FFFFFFF] * SIDE))
            before = builder.load(least)
            is_less = builder.icmp_signed("<", bits, before)
            run = _splat(builder, builder.trunc(loop.index, ir.IntType(32)))
            builder.store(builder.select(is_less, bits, before), least)
            builder.store(builder.select(is_less, run, builder.load(found)), found)
        return _first_of_least(builder, builder.load(least), builder.load(found))

    integer = numba.types.int64
    return integer(codes, integer, integer, values, integer, integer, levels), generate


def _level_costs(builder: Any, x_at: Any, weight_at: Any, level: Any) -> Any:
    """What a level costs each of the 8 weights: weight * difference * difference, in C's order."""
    x = builder.load(builder.bitcast(x_at, _GROUP.as_pointer()), align=4)
    weight = builder.load(builder.bitcast(weight_at, _GROUP.as_pointer()), align=4)
    difference = builder.fsub(_splat(builder, level, 8), x)
    return builder.fmul(builder.fmul(weight, difference), difference)


def _distances(builder: Any, codes: Any, costs: Any) -> Any:
    """For each code the sum of costs[digit][k] over its digits k, added up from the first."""
    total = ir.Constant(_FLOATS, [0.0] * SIDE)
    for k in range(8):
        low, mid, high = (_lane(builder, cost, k) for cost in costs)
        cost = builder.select(_has_bit(builder, codes, 2 * k), mid, low)
        total = builder.fadd(total, builder.select(_has_bit(builder, codes, 2 * k + 1), high, cost))
    return total


def _has_bit(builder: Any, codes: Any, bit: int) -> Any:
    masked = builder.and_(codes, ir.Constant(_CODES, [1 << bit] * SIDE))
    return builder.icmp_unsigned("!=", masked, ir.Constant(_CODES, [0] * SIDE))


def _first_of_least(builder: Any, least: Any, found: Any) -> Any:
    lowest = _reduced(builder, "umin", least)
    lanes = ir.Constant(_INTS, list(range(SIDE)))
    place = builder.add(builder.mul(found, ir.Constant(_INTS, [SIDE] * SIDE)), lanes)
    is_least = builder.icmp_signed("==", least, _splat(builder, lowest))
    first = _reduced(builder, "umin", builder.select(is_least, place, ir.Constant(_INTS, [FLT_MAX] * SIDE)))
    is_none = builder.icmp_signed("==", lowest, ir.IntType(32)(FLT_MAX))
    return builder.sext(builder.select(is_none, ir.IntType(32)(-1), first), ir.IntType(64))


def _splat(builder: Any, value: Any, lanes: int = SIDE) -> Any:
    vector = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def _lane(builder: Any, group: Any, k: int) -> Any:
    return builder.shuffle_vector(group, group, ir.Constant(_INTS, [k] * SIDE))


def _reduced(builder: Any, how: str, vector: Any) -> Any:
    kind = ir.FunctionType(vector.type.element, [vector.type])
    name = f"llvm.vector.reduce.{how}.v{SIDE}i32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [vector])


def levels(type_name: str) -> npt.NDArray[np.float32]:
    """The eight levels of each point one after the other: those of point n begin at 8 * n."""
    return grid(type_name).values.reshape(-1)


SIGN_FACTORS_FLAT = SIGN_FACTORS.reshape(-1)
"""The eight factors for each byte of signs one after the other."""


@inner
def decode_group(  # noqa: PLR0917 - by position, as numba inlines it best
    values: Any, at: int, scale: float, of_points: Any, number: int, signs: int
) -> None:
    """Eight values: scale * level, negative where a sign bit is set."""
    factors = load_floats(SIGN_FACTORS_FLAT, 8 * signs, 8)
    store_floats(values, at, load_floats(of_points, 8 * number, 8) * scale * factors)
