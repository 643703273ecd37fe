"""The network whose answer numpy knows is the one that was written, and ONNX Runtime gives that answer."""

from conversion.inference.onnx_selftest import BIAS, MODEL, WEIGHTS, check_onnxruntime
from tests.conversion.formats.onnx.writer import linear


def test_the_known_network_is_ours_to_the_last_byte() -> None:
    assert MODEL.read_bytes() == linear(WEIGHTS, BIAS)


def test_onnx_runtime_gives_the_known_answer() -> None:
    report = check_onnxruntime()
    assert (report.name, report.package) == ("onnxruntime", "onnxruntime")
    assert report.library_version.startswith("ONNX Runtime")
