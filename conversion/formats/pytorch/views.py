"""What a pickle of tensors is made of: storages, and views of them. Descriptions only; no byte of a weight is here."""

import math
from dataclasses import dataclass

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.safetensors import DTYPE_BITS

MAX_DIMENSIONS = 32
MAX_ELEMENTS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of bytes that tensors are views of. `dtype` is a safetensors dtype; `U8` where the storage is untyped."""

    key: str
    dtype: str
    size_bytes: int

    @property
    def item_bytes(self) -> int:
        return DTYPE_BITS[self.dtype] // 8


@dataclass(frozen=True, slots=True)
class View:
    """A tensor: element (i, j, …) is number `offset + i * strides[0] + j * strides[1] + …` of the storage.

    Offsets and strides count elements of `dtype`. Every element has been checked to lie in the storage.
    """

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def item_bytes(self) -> int:
        return DTYPE_BITS[self.dtype] // 8

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor written out densely."""
        return self.n_elements * self.item_bytes


def checked_view(storage: Storage, dtype: str, offset: object, shape: object, strides: object) -> View:
    """A view whose every element lies in the storage, and that is not larger than the storage.

    The latter refuses a byte that stride 0 shows as a terabyte. HeaderError `pt-tensor` or `pt-bounds` otherwise.
    """
    sizes, steps = _naturals(shape, "shape"), _naturals(strides, "stride")
    if type(offset) is not int or not 0 <= offset <= MAX_ELEMENTS:
        raise HeaderError("pt-tensor", "a storage offset that is not a whole number below 2^63")
    if len(sizes) != len(steps) or math.prod(sizes) > MAX_ELEMENTS:
        raise HeaderError("pt-tensor", f"shape {quoted(sizes)} and stride {quoted(steps)} describe no tensor")
    view = View(storage, dtype, offset, sizes, steps)
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if view.n_elements and (last + 1) * view.item_bytes > storage.size_bytes:
        raise HeaderError(
            "pt-bounds",
            f"a tensor of shape {quoted(sizes)} reaches element {last} of storage {quoted(storage.key)}, which has "
            f"{storage.size_bytes // view.item_bytes}",
        )
    if view.size_bytes > storage.size_bytes:
        raise HeaderError(
            "pt-bounds",
            f"a tensor of {view.size_bytes} bytes shows the {storage.size_bytes} bytes of storage "
            f"{quoted(storage.key)} many times over",
        )
    return view


def is_contiguous(view: View) -> bool:
    """Whether the elements lie in row-major order without gaps."""
    expected = 1
    for size, step in zip(reversed(view.shape), reversed(view.strides), strict=True):
        if size != 1 and step != expected:
            return view.n_elements == 0
        expected *= size
    return True


def _naturals(value: object, what: str) -> tuple[int, ...]:
    if (
        not isinstance(value, tuple)
        or len(value) > MAX_DIMENSIONS
        or not all(type(number) is int and 0 <= number <= MAX_ELEMENTS for number in value)
    ):
        raise HeaderError(
            "pt-tensor", f"a {what} that is not a tuple of at most {MAX_DIMENSIONS} whole numbers below 2^63"
        )
    return value
