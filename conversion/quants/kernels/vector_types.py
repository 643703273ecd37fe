"""The vectors of vectors.py as types that numba knows, and the operators between them."""

import operator
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core.datamodel import PrimitiveModel
from numba.extending import lower_builtin, register_model, type_callable

Emit = Callable[[Any, Any, Any], Any]
"""What puts an instruction for two operands, or for one and the type of the result, into LLVM's code."""

ELEMENTS = {"float": ir.FloatType(), "int": ir.IntType(32), "mask": ir.IntType(1)}
SCALARS = {"float": numba.types.float32, "int": numba.types.int32}


class Vector(numba.types.Type):  # type: ignore[misc]  # numba ships no types
    """numba's type of `n` elements, each a "float", an "int" or, in a "mask", a bit."""

    def __init__(self, element: str, n: int) -> None:
        self.element, self.n = element, n
        super().__init__(name=f"{element}x{n}")

    @property
    def llvm(self) -> Any:
        return ir.VectorType(ELEMENTS[self.element], self.n)


@register_model(Vector)
class VectorModel(PrimitiveModel):  # type: ignore[misc]  # numba ships no types
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.llvm)


def splat(builder: Any, scalar: Any, n: int) -> Any:
    kind = ir.VectorType(scalar.type, n)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), n), [0] * n))


def _operator(function: Any, result: str, **emitters: Emit) -> None:
    """`function` of two vectors, or of one and a scalar; `emitters` by the element it is for. An empty `result` means
    a vector of the same kind."""

    @type_callable(function)
    def type_of(context: Any) -> Any:
        def typer(left: Any, right: Any) -> Any:
            if not isinstance(left, Vector) or left.element not in emitters:
                return None
            if isinstance(right, Vector):
                operand = right if right == left else None
            else:
                operand = SCALARS.get(left.element)
            return operand and Vector(result or left.element, left.n)(left, operand)

        return typer

    @lower_builtin(function, Vector, numba.types.Any)
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right = arguments
        if not isinstance(signature.args[1], Vector):
            right = splat(builder, right, signature.args[0].n)
        return emitters[signature.args[0].element](builder, left, right)


def _compare(sign: str) -> dict[str, Emit]:
    """Of floats: false where either is NaN, as in C. Of ints: signed."""
    return {
        "float": lambda builder, left, right: builder.fcmp_ordered(sign, left, right),
        "int": lambda builder, left, right: builder.icmp_signed(sign, left, right),
    }


_operator(operator.add, "", float=lambda b, x, y: b.fadd(x, y), int=lambda b, x, y: b.add(x, y))
_operator(operator.sub, "", float=lambda b, x, y: b.fsub(x, y), int=lambda b, x, y: b.sub(x, y))
_operator(operator.mul, "", float=lambda b, x, y: b.fmul(x, y), int=lambda b, x, y: b.mul(x, y))
_operator(operator.truediv, "", float=lambda b, x, y: b.fdiv(x, y))
_operator(operator.and_, "", int=lambda b, x, y: b.and_(x, y), mask=lambda b, x, y: b.and_(x, y))
_operator(operator.or_, "", int=lambda b, x, y: b.or_(x, y), mask=lambda b, x, y: b.or_(x, y))
_operator(operator.xor, "", int=lambda b, x, y: b.xor(x, y))
_operator(operator.lshift, "", int=lambda b, x, y: b.shl(x, y))
_operator(operator.rshift, "", int=lambda b, x, y: b.ashr(x, y))
for _function, _sign in (
    (operator.lt, "<"),
    (operator.gt, ">"),
    (operator.le, "<="),
    (operator.ge, ">="),
    (operator.eq, "=="),
):
    _operator(_function, "mask", **_compare(_sign))
_operator(operator.ne, "mask", int=lambda b, x, y: b.icmp_signed("!=", x, y))
