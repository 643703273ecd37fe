"""Thirty-two numbers side by side, one per lane: what LLVM calls a vector, as values that kernels compute with.

    x = load(scratch, at)                # 32 float32 numbers from scratch[at] on
    level = nearest(x * splat(inverse))  # in every lane
    total = select(level > top, top, level)

Three types: float32 lanes (`+ - * /` and comparisons), int32 lanes (`+ - & | << >>` and comparisons), and masks, which
comparisons give (`& |`). Every operation is the one in each lane, rounded on its own; LLVM makes of it what the CPU
has: two AVX-512 registers, four of AVX2, eight of SSE2. A lane holds a block or an element, and each block keeps the
order of its own sums: that is how the bytes stay those of ggml's scalar code, several times faster.

Against loops over arrays that LLVM is left to vectorise: no alias checks, sums that stay in registers, and a tenth of
the time to compile (the search of Q4_K: 1 s instead of 11 s for source that a generator unrolled, measured).
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from conversion.quants.kernels.compiling import inner

WIDTH = 32
"""The search of Q4_K does 148 M elements/s with 16 lanes, 172 with 32, 173 with 64; with AVX2 142, 141, 129. It is also
how many quants of a K-quant lie in consecutive bytes."""

_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_INTS = ir.VectorType(ir.IntType(32), WIDTH)
_MASK = ir.VectorType(ir.IntType(1), WIDTH)
_BYTES = ir.VectorType(ir.IntType(8), WIDTH)


class LaneType(types.Type):  # type: ignore[misc]
    """A numba type whose values are LLVM vectors."""

    def __init__(self, name: str, vector: ir.VectorType) -> None:
        self.vector = vector
        super().__init__(name=f"{name} x {WIDTH}")


@register_model(LaneType)
class _LaneModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lane_type: LaneType) -> None:
        super().__init__(manager, lane_type, lane_type.vector)


floats = LaneType("float32", _FLOATS)
ints = LaneType("int32", _INTS)
mask = LaneType("mask", _MASK)

Emit = Callable[[Any, Any, Any], Any]


def _define(operation: Any, operand: LaneType, result: LaneType, emit: Emit) -> None:
    """Kernels may write `operation` between two lanes of this type."""

    class Template(ConcreteTemplate):  # type: ignore[misc]
        cases = [signature(result, operand, operand)]

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return emit(builder, *arguments)

    infer_global(operation)(Template)
    lower_builtin(operation, operand, operand)(lower)


def _instruction(name: str) -> Emit:
    return lambda builder, a, b: getattr(builder, name)(a, b)


def _comparison(name: str, sign: str) -> Emit:
    return lambda builder, a, b: getattr(builder, name)(sign, a, b)


for _operation, _name in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv")):
    _define(getattr(operator, _operation), floats, floats, _instruction(_name))
for _operation, _name in (
    ("add", "add"), ("sub", "sub"), ("and_", "and_"), ("or_", "or_"), ("lshift", "shl"), ("rshift", "ashr")
):  # fmt: skip
    _define(getattr(operator, _operation), ints, ints, _instruction(_name))
for _operation, _sign in (("gt", ">"), ("lt", "<"), ("ge", ">="), ("le", "<="), ("eq", "==")):
    # Ordered: like C's, these are false where there is a NaN.
    _define(getattr(operator, _operation), floats, mask, _comparison("fcmp_ordered", _sign))
    _define(getattr(operator, _operation), ints, mask, _comparison("icmp_signed", _sign))
_define(operator.ne, ints, mask, _comparison("icmp_signed", "!="))
for _operation in ("and_", "or_"):
    _define(getattr(operator, _operation), mask, mask, _instruction(_operation))


def _splat(builder: Any, vector: ir.VectorType, value: Any) -> Any:
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(_INTS, [0] * WIDTH))


@intrinsic
def splat(typing_context: Any, value: Any) -> Any:
    """The same float32 in every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _splat(builder, _FLOATS, context.cast(builder, arguments[0], value, types.float32))

    return floats(value), generate


@intrinsic
def splat_int(typing_context: Any, value: Any) -> Any:
    """The same int32 in every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _splat(builder, _INTS, context.cast(builder, arguments[0], value, types.int32))

    return ints(value), generate


@intrinsic
def halves(typing_context: Any, first: Any, second: Any) -> Any:
    """One float32 in the first sixteen lanes, another in the last sixteen."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.Constant(_INTS, [0] * (WIDTH // 2) + [WIDTH] * (WIDTH // 2))
        return builder.shuffle_vector(*(_splat(builder, _FLOATS, value) for value in arguments), lanes)

    return floats(types.float32, types.float32), generate


def _address(builder: Any, data: Any, at: Any, vector: ir.VectorType) -> Any:
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


_IN_MEMORY = {types.float32: (floats, _FLOATS), types.int32: (ints, _INTS), types.uint8: (ints, _BYTES)}


@intrinsic
def load(typing_context: Any, array: Any, at: Any) -> Any:
    """The 32 numbers from array[at] on: float32 lanes, or int32 lanes of int32 or uint8. Checks no bounds."""
    lanes, vector = _IN_MEMORY[array.dtype]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = builder.load(
            _address(
                builder, context.make_array(array)(context, builder, arguments[0]).data, arguments[1], vector
            )
        )
        loaded.align = vector.element.get_abi_size(context.target_data)
        return builder.zext(loaded, _INTS) if vector is _BYTES else loaded

    return lanes(array, types.intp), generate


@intrinsic
def store(typing_context: Any, array: Any, at: Any, lanes: Any) -> Any:
    """Writes the lanes to array[at] and on; of int32 lanes into uint8 the low eight bits. Checks no bounds."""
    expected, vector = _IN_MEMORY[array.dtype]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(array)(context, builder, arguments[0]).data
        value = builder.trunc(arguments[2], _BYTES) if vector is _BYTES else arguments[2]
        stored = builder.store(value, _address(builder, data, arguments[1], vector))
        stored.align = vector.element.get_abi_size(context.target_data)
        return context.get_dummy_value()

    return types.void(array, types.intp, expected), generate


@intrinsic
def select(typing_context: Any, condition: Any, if_true: Any, if_false: Any) -> Any:
    """In each lane one or the other."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return if_true(mask, if_true, if_true), generate


def _test(sign: str, bits: int) -> Any:
    @intrinsic
    def function(typing_context: Any, condition: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            whole = ir.IntType(WIDTH)
            return builder.icmp_unsigned(sign, builder.bitcast(arguments[0], whole), ir.Constant(whole, bits))

        return types.boolean(mask), generate

    return function


is_any, is_all = _test("!=", 0), _test("==", -1)
"""Whether a mask is true in at least one lane, and whether it is in every lane."""


def _in_each_lane(name: str) -> Any:
    @intrinsic
    def function(typing_context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            function_type = ir.FunctionType(_FLOATS, [_FLOATS])
            called = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.v{WIDTH}f32")
            return builder.call(called, arguments)

        return floats(floats), generate

    return function


root = _in_each_lane("sqrt")
magnitude = _in_each_lane("fabs")


@intrinsic
def to_float(typing_context: Any, value: Any) -> Any:
    """int32 lanes as float32 lanes, each rounded to nearest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sitofp(arguments[0], _FLOATS)

    return floats(ints), generate


@intrinsic
def bits_in(typing_context: Any, value: Any) -> Any:
    """The bits of float32 lanes as int32 lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _INTS)

    return ints(floats), generate


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
                rows.append(builder.load(_address(builder, source_data, place, square), align=4))
            for i, row in enumerate(_transposed(builder, rows)):
                place = plus(arguments[4], WIDTH * i + first)
                builder.store(row, _address(builder, target_data, place, square), align=4)
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
