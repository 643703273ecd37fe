"""ONNX: what a file says about itself and where its weights lie, read with limits, by our own few lines of protobuf.

From the bottom up: `wire` (fields), `tensors` (one tensor), `model` (graphs, nodes, ports), `weights` (their values).
"""

from conversion.formats.onnx.model import SNIFF_BYTES, OnnxModel, Port, is_onnx, read_model
from conversion.formats.onnx.tensors import OnnxTensor
from conversion.formats.onnx.weights import OnnxWeights, files_beside, open_onnx

__all__ = [
    "SNIFF_BYTES",
    "OnnxModel",
    "OnnxTensor",
    "OnnxWeights",
    "Port",
    "files_beside",
    "is_onnx",
    "open_onnx",
    "read_model",
]
