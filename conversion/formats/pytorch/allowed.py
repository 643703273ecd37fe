"""The allow-list: every global that a pickle of weights may name, and what naming or calling it means here.

Nothing is imported and nothing of PyTorch is run: a global is a key of a dict, and calling one calls a function of this
file, which builds a description. Whatever is not in `GLOBALS` is refused by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.pytorch.views import MAX_DIMENSIONS, Storage, View, checked_view
from conversion.formats.safetensors import DTYPE_BITS

STORAGE_DTYPES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "UntypedStorage": "U8",
}  # fmt: skip
QUANTISED_STORAGES = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")
QUANTISATION_SCHEMES = (
    "per_tensor_affine", "per_channel_affine", "per_channel_affine_float_qparams", "per_tensor_symmetric",
    "per_channel_symmetric",
)  # fmt: skip
DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
    "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip

UNNAMED = ("complex128", "complex32", "ComplexDoubleStorage", "float4_e2m1fn_x2", "quint8", "qint8", "qint32")
"""Dtypes of torch, and storages of them, that are no whole number of bytes or that safetensors has no name for."""


@dataclass(frozen=True, slots=True)
class Dtype:
    """A torch dtype, by its safetensors name."""

    name: str


@dataclass(frozen=True, slots=True)
class StorageKind:
    """A class of storages: the dtype it holds, or None for torch's own quantised integers."""

    dtype: str | None


@dataclass(frozen=True, slots=True)
class Word:
    """A global that means itself: a device, a quantisation scheme, a class of tensors."""

    name: str


@dataclass(frozen=True, slots=True)
class Function:
    """A global that may be called; `call` takes the arguments and gives a value."""

    name: str
    call: Callable[..., Any] = field(compare=False)


def called(function: object, arguments: object) -> Any:
    """What calling an allowed global gives; HeaderError for anything else, or for arguments it does not take."""
    if not isinstance(function, Function) or not isinstance(arguments, tuple):
        raise HeaderError("pt-call", f"a call of a {_kind(function)}, which is nothing that may be called")
    try:
        return function.call(*arguments)
    except TypeError as error:
        raise HeaderError(
            "pt-call", f"{function.name} was given {len(arguments)} arguments, and they do not fit"
        ) from error


def storage_of(reference: object) -> Storage:
    """The storage that a persistent id names: `("storage", class, key, place, n_elements)`, from torch.save."""
    if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
        raise HeaderError("pt-persistent-id", f"a persistent id that is no storage, but a {_kind(reference)}")
    kind, key, count = reference[1], reference[2], reference[4]
    if not isinstance(kind, StorageKind) or not isinstance(key, str) or type(count) is not int or count < 0:
        raise HeaderError("pt-persistent-id", "a storage without a class, a key or a length")
    if len(reference) == 6 and reference[5] is not None:
        raise HeaderError(
            "pt-persistent-id", f"storage {quoted(key)} is a view of another, as PyTorch 0.3 wrote them"
        )
    # Quantised integers are refused where a tensor is made of them, with a sentence that says so.
    dtype = kind.dtype or "U8"
    return Storage(key, dtype, count * (DTYPE_BITS[dtype] // 8))


def _tensor(storage: object, offset: object, shape: object, strides: object, *rest: object) -> View:
    """`rest` is (requires_grad, hooks, metadata), none of them in the oldest files."""
    _check_plain(rest[2:3])
    if not isinstance(storage, Storage):
        raise HeaderError("pt-tensor", "a tensor without a storage")
    return checked_view(storage, storage.dtype, offset, shape, strides)


def _typed_tensor(storage: object, offset: object, shape: object, strides: object, *rest: object) -> View:
    """`rest` is (requires_grad, hooks, dtype, metadata); the dtype is here because the storage is untyped."""
    dtype = rest[2] if len(rest) > 2 else None
    _check_plain(rest[3:4])
    if not isinstance(storage, Storage) or not isinstance(dtype, Dtype):
        raise HeaderError("pt-tensor", "a tensor without a storage or a dtype")
    return checked_view(storage, dtype.name, offset, shape, strides)


def _check_plain(metadata: tuple[object, ...]) -> None:
    """Refuses a tensor whose values are not what its storage holds: torch can leave a conjugate or a sign undone."""
    if any(metadata) and metadata != (None,):
        raise HeaderError(
            "pt-tensor",
            "a tensor that is still to be conjugated or negated; save it with .resolve_conj() or .clone()",
        )


def _parameter(tensor: object, *_: object) -> View:
    if not isinstance(tensor, View):
        raise HeaderError("pt-tensor", "a parameter that is no tensor")
    return tensor


def _of_subclass(function: object, kind: object, arguments: object, state: object) -> View:
    if function not in TENSOR_MAKERS or not isinstance(kind, Word):
        raise HeaderError("pt-call", f"a tensor made by a {_kind(function)}")
    return _parameter(called(function, arguments))


def _quantised_tensor(*_: object) -> View:
    raise HeaderError(
        "pt-quantised",
        "a tensor of torch's own quantised integers (torch.quantize_per_tensor or per_channel). Dequantise it in "
        "PyTorch with .dequantize() and save it again",
    )


def _ordered_dict(*arguments: object) -> dict[Any, Any]:
    if arguments and arguments != ([],):
        raise HeaderError("pt-call", "an OrderedDict made from something else than nothing")
    return {}


def _size(numbers: object) -> tuple[object, ...]:
    if not isinstance(numbers, list | tuple) or len(numbers) > MAX_DIMENSIONS:
        raise HeaderError("pt-tensor", f"a torch.Size of more than {MAX_DIMENSIONS} numbers, or of none")
    return tuple(numbers)


def _device(*_: object) -> Word:
    return Word("torch.device")


def _kind(value: object) -> str:
    """What a value is, in a word. Never the value itself: a list in a list in a list has no end when written out."""
    return value.name if isinstance(value, Word | Function | Dtype) else type(value).__name__


_REBUILD = Function("torch._utils._rebuild_tensor_v2", _tensor)
_REBUILD_TYPED = Function("torch._utils._rebuild_tensor_v3", _typed_tensor)
TENSOR_MAKERS = (_REBUILD, _REBUILD_TYPED)

GLOBALS: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): Function("collections.OrderedDict", _ordered_dict),
    ("torch", "Size"): Function("torch.Size", _size),
    ("torch", "device"): Function("torch.device", _device),
    ("torch._utils", "_rebuild_tensor"): Function("torch._utils._rebuild_tensor", _tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _REBUILD,
    ("torch._utils", "_rebuild_tensor_v3"): _REBUILD_TYPED,
    ("torch._utils", "_rebuild_parameter"): Function("torch._utils._rebuild_parameter", _parameter),
    ("torch._utils", "_rebuild_qtensor"): Function("torch._utils._rebuild_qtensor", _quantised_tensor),
    ("torch._tensor", "_rebuild_from_type_v2"): Function("torch._tensor._rebuild_from_type_v2", _of_subclass),
    ("torch", "Tensor"): Word("torch.Tensor"),
    ("torch.nn.parameter", "Parameter"): Word("torch.nn.parameter.Parameter"),
    ("torch.nn.parameter", "Buffer"): Word("torch.nn.parameter.Buffer"),
    ("torch.storage", "UntypedStorage"): StorageKind("U8"),
    **{("torch", name): StorageKind(dtype) for name, dtype in STORAGE_DTYPES.items()},
    **{("torch.cuda", name): StorageKind(dtype) for name, dtype in STORAGE_DTYPES.items()},
    **{("torch", name): StorageKind(None) for name in QUANTISED_STORAGES},
    **{("torch", name): Word(f"torch.{name}") for name in QUANTISATION_SCHEMES},
    **{("torch", name): Dtype(dtype) for name, dtype in DTYPES.items()},
}


def allowed(module: object, name: object) -> object:
    """The meaning of a global, or HeaderError `pt-global` that names it."""
    if isinstance(module, str) and isinstance(name, str) and (module, name) in GLOBALS:
        return GLOBALS[module, name]
    shown = quoted(f"{module}.{name}")
    if module == "torch" and name in UNNAMED:
        raise HeaderError(
            "pt-dtype", f"{shown} is a dtype that nothing else has a name for, so it is not read"
        )
    raise HeaderError(
        "pt-global",
        f"the pickle names {shown}, which could run code when loaded. Only tensors, dicts and lists of them are read, "
        "and nothing of the file was run. Save the weights alone (a state dict), or as safetensors",
    )
