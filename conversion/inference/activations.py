"""What flows into each weight while llama.cpp computes: the sums of squares that an importance matrix is made of.

llama.cpp asks a callback about every node of its graph, before and after computing it. Of each matrix product whose
weight belongs to a layer we keep, per column, the sum over all tokens of the squared activation; of a product with
experts, per expert, over the tokens that were sent to it. Sums are float32, added row after row, as llama-imatrix
adds them (tools/imatrix/imatrix.cpp: IMatrixCollector::collect_imatrix), so equal activations give equal sums.

Loaded in the sandbox's child only.
"""

import ctypes
from ctypes import POINTER, c_bool, c_char, c_char_p, c_int32, c_int64, c_size_t, c_void_p
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversion.inference.engine import EngineError

MIN_TOKENS = 16
"""Products over fewer rows are not looked at, as in llama-imatrix."""

MAX_EXPERTS = 4096
GGML_TYPE_F32 = 0


class Tensor(ctypes.Structure):
    """`struct ggml_tensor` (ggml.h), as far as we read it."""


Tensor._fields_ = [
    ("type", c_int32),
    ("buffer", c_void_p),
    ("ne", c_int64 * 4),
    ("nb", c_size_t * 4),
    ("op", c_int32),
    ("op_params", c_int32 * 16),
    ("flags", c_int32),
    ("src", POINTER(Tensor) * 10),
    ("view_src", c_void_p),
    ("view_offs", c_size_t),
    ("data", c_void_p),
    ("name", c_char * 64),
]

EvalCallback = ctypes.CFUNCTYPE(c_bool, POINTER(Tensor), c_bool, c_void_p)

_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "ggml_nelements": (c_int64, [POINTER(Tensor)]),
    "ggml_nbytes": (c_size_t, [POINTER(Tensor)]),
    "ggml_get_name": (c_void_p, [POINTER(Tensor)]),
    "ggml_op_name": (c_char_p, [c_int32]),
}


def bind_nodes(library: Any) -> None:
    """The functions that read a node of the graph are typed."""
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def check_layout(library: Any, pointer: Any) -> None:
    """What the library's own functions say of a tensor is where we think it is; EngineError `engine-mismatch`."""
    node = pointer.contents
    name_at = ctypes.addressof(node) + Tensor.name.offset
    n_elements = int(np.prod(node.ne, dtype=object))
    if (library.ggml_get_name(pointer), library.ggml_nelements(pointer)) != (name_at, n_elements):
        raise EngineError("engine-mismatch", "this build's tensors are laid out in a way that we do not know")


@dataclass
class Sums:
    """Of one weight: float32 (n_matrices, n_cols), and how many rows went into each matrix."""

    values: NDArray[np.float32]
    counts: NDArray[np.int64]


@dataclass
class Observer:
    """Collects while its `callback` is a context's `cb_eval`. The first fault ends collecting and is kept."""

    library: Any
    sums: dict[str, Sums] = field(default_factory=dict)
    fault: EngineError | None = None

    def __post_init__(self) -> None:
        bind_nodes(self.library)
        self.callback = EvalCallback(self._called)
        self._proven = False

    def check(self) -> None:
        """Raises what went wrong inside the callback, where nothing can be raised."""
        if self.fault is not None:
            raise self.fault

    def _called(self, pointer: Any, ask: bool, _: Any) -> bool:
        try:
            node = pointer.contents
            if not self._proven:
                check_layout(self.library, pointer)
                self._proven = True
            return self._wants(node) if ask else self._take(node)
        except EngineError as error:
            self.fault = self.fault or error
        except (ValueError, MemoryError) as error:
            self.fault = self.fault or EngineError("decode-failed", f"activations could not be read: {error}")
        return False

    def _wants(self, node: Tensor) -> bool:
        operation = self._operation(node)
        if operation not in ("MUL_MAT", "MUL_MAT_ID") or self.fault is not None:
            return False
        weight, activation = node.src[0].contents, node.src[1].contents
        if activation.type != GGML_TYPE_F32 or not _name(weight).startswith("blk."):
            return False
        return operation == "MUL_MAT_ID" or int(activation.ne[1]) >= MIN_TOKENS

    def _take(self, node: Tensor) -> bool:
        if self._operation(node) == "MUL_MAT_ID":
            self._take_experts(node)
        else:
            self._take_dense(node)
        return True

    def _operation(self, node: Tensor) -> str:
        return str(self.library.ggml_op_name(node.op), "ascii")

    def _take_dense(self, node: Tensor) -> None:
        weight, rows = node.src[0].contents, _floats(node.src[1].contents)
        per_layer, n_matrices = int(weight.ne[2]), int(weight.ne[2] * weight.ne[3])
        sums = self._sums_of(weight, n_matrices, n_counts=1)
        for outer in range(rows.shape[0]):
            for inner in range(rows.shape[1]):
                matrix = (outer % int(weight.ne[3])) * per_layer + inner % per_layer
                _add_squares(sums.values[matrix], rows[outer, inner])
        sums.counts += rows.shape[0] * rows.shape[1] * rows.shape[2] // n_matrices

    def _take_experts(self, node: Tensor) -> None:
        weight, rows = node.src[0].contents, _floats(node.src[1].contents)[0]  # (token, slot, column)
        sums = self._sums_of(weight, int(weight.ne[2]), n_counts=int(weight.ne[2]))
        chosen = _integers(node.src[2].contents)  # (token, slot)
        tokens, slots = chosen.shape
        slot_of = np.repeat(np.arange(slots), tokens)
        token_of = np.tile(np.arange(tokens), slots)
        experts = chosen.T.reshape(-1)
        if experts.min() < 0 or experts.max() >= len(sums.counts):
            raise EngineError(
                "decode-failed", f"{_name(weight)}: a token was sent to an expert that is not there"
            )
        for expert in np.unique(experts):
            mine = experts == expert
            _add_squares(sums.values[expert], rows[token_of[mine], slot_of[mine] % rows.shape[1]])
            sums.counts[expert] += int(mine.sum())

    def _sums_of(self, weight: Tensor, n_matrices: int, n_counts: int) -> Sums:
        name, n_cols = _name(weight), int(weight.ne[0])
        if not 0 < n_matrices <= MAX_EXPERTS:
            raise EngineError("decode-failed", f"{name}: {n_matrices} matrices in one tensor")
        if name not in self.sums:
            self.sums[name] = Sums(np.zeros((n_matrices, n_cols), np.float32), np.zeros(n_counts, np.int64))
        return self.sums[name]


def _add_squares(total: NDArray[np.float32], rows: NDArray[np.float32]) -> None:
    """`total` (n_cols,) gains the squares of `rows` (n, n_cols), row after row: numpy pairs the last axis only."""
    squares = np.concatenate([total[None], rows * rows])
    total[:] = np.add.reduce(squares, axis=0)
    if not np.isfinite(total).all():
        raise EngineError("decode-failed", "activations are not finite: this model does not compute")


def _name(tensor: Tensor) -> str:
    """`CUDA0#blk.0.attn_k.weight#0` is blk.0.attn_k.weight, copied for another device."""
    name = bytes(tensor.name).decode("utf-8", "replace")
    return name.split("#")[1] if "#" in name else name


def _floats(tensor: Tensor) -> NDArray[np.float32]:
    """float32 (outer, inner, rows, columns) over the tensor's own memory."""
    floats: NDArray[np.float32] = _view(tensor, np.float32, 4)
    return floats


def _integers(tensor: Tensor) -> NDArray[np.int32]:
    integers: NDArray[np.int32] = _view(tensor, np.int32, 2)
    return integers


def _view(tensor: Tensor, dtype: Any, n_dims: int) -> Any:
    shape = tuple(reversed(tensor.ne[:n_dims]))
    strides = tuple(reversed(tensor.nb[:n_dims]))
    size = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 4
    memory = (c_char * size).from_address(tensor.data)
    return np.ndarray(shape, dtype, memory, strides=strides)
