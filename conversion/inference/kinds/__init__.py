"""How each kind of artifact is run and compared: one module a kind, one line here. subjects.py says what is which."""

from conversion.inference.kinds.adapter import ADAPTER
from conversion.inference.kinds.base import Kind
from conversion.inference.kinds.decoder import DECODER
from conversion.inference.kinds.embedding import EMBEDDING
from conversion.inference.kinds.onnx import ONNX
from conversion.inference.kinds.tensors import TENSORS

__all__ = ["KINDS", "Kind"]

KINDS: dict[str, Kind] = {
    "adapter": ADAPTER,
    "onnx": ONNX,
    "embedding": EMBEDDING,
    "decoder": DECODER,
    "tensors": TENSORS,
}
