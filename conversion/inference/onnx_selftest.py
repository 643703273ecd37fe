"""The known answer that ONNX Runtime must give before it may judge anything: a network of 3 nodes, made here.

y = softmax(x W + b) of a (1, 4) input, computed by numpy in float64; its ONNX file is 250 bytes of our own making, so
that nothing but the runtime is tested.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conversion.inference.engine import EngineError, EngineReport
from conversion.inference.onnx_inputs import Feed, values_of
from conversion.inference.sandbox import Sandbox
from conversion.inference.starting import starting

Values = NDArray[np.float64]
MODEL = Path(__file__).with_name("known") / "softmax.onnx"
FEED = Feed("x", "F32", (1, 4), "small")
TOLERANCE = 1e-6
WEIGHTS = (np.arange(12).reshape(4, 3) - 5.5) / 4
BIAS = np.array([0.5, 0.0, -0.5])


@cache
@starting()
def check_onnxruntime(threads: int = 1) -> EngineReport:
    """The runtime gave the known answer in a sandbox. EngineError `engine-mismatch`, `engine-missing`."""
    try:
        with Sandbox("onnxruntime", MODEL, threads=threads) as sandbox:
            found = sandbox.run([FEED])["y"]
            report = sandbox.report
    except EngineError as error:
        if error.says_nothing_of_the_file:
            raise
        raise _mismatch(f"it cannot run the network whose answer is known: {error}") from error
    expected = _softmax(values_of(FEED).astype(np.float64) @ WEIGHTS + BIAS)
    if found.shape != expected.shape or float(np.abs(found - expected).max()) > TOLERANCE:
        raise _mismatch(f"the answer is {found.tolist()}, expected {expected.round(6).tolist()}")
    return report


def _softmax(values: Values) -> Values:
    powers = np.exp(values - values.max())
    shares: Values = powers / powers.sum()
    return shares


def _mismatch(what: str) -> EngineError:
    return EngineError(
        "engine-mismatch", f"ONNX Runtime failed its self-test: {what}. Nothing is validated with it here."
    )
