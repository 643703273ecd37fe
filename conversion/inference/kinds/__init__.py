"""How each kind of artifact is run and compared: one module a kind, one line here. subjects.py says what is which."""

from conversion.inference.kinds.base import Kind
from conversion.inference.kinds.decoder import DECODER
from conversion.inference.kinds.tensors import TENSORS

__all__ = ["KINDS", "Kind"]

KINDS: dict[str, Kind] = {
    "decoder": DECODER,
    "tensors": TENSORS,
}
