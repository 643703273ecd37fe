"""ONNX files to begin with when they are mangled: every place of a weight, and a graph within a graph."""

import numpy as np

from tests.conversion.formats.onnx.writer import (
    FLOAT,
    FLOAT16,
    INT8,
    INT64,
    attribute,
    blob,
    external,
    floats,
    graph,
    linear,
    model,
    node,
    packed,
    port,
    raw,
    tensor,
)

W = np.arange(12, dtype=np.float32).reshape(4, 3)
_INNER = graph(
    nodes=[node("Constant", [], ["c"], attribute("value", 4, blob(5, floats("", W))))],
    tensors=[floats("w", W)],
)
_PLACES = model(
    graph(
        nodes=[node("If", ["x"], ["y"], attribute("then_branch", 5, blob(6, _INNER)), name="choose")],
        tensors=[
            tensor("raw", W.shape, INT8, raw(W.astype(np.int8))),
            tensor("floats", W.shape, FLOAT, blob(4, W.tobytes())),
            tensor("half", (1, 4), FLOAT16, packed(5, [0x3C00, 1, 2, 0x7FFF])),
            tensor("whole", (1, 3), INT64, packed(7, [2**64 - 1, 0, 300])),
            tensor("outside", (2, 2), FLOAT, external(location="w.bin", offset=16, length=16)),
        ],
        inputs=[port("x", FLOAT, ["n", 4])],
        outputs=[port("y", FLOAT, [1, 3])],
    ),
    domains=["com.microsoft"],
)
ONNX = (linear(W, np.ones(3, np.float32)), _PLACES)
