"""ONNX networks: sound ones run and are what their parents are, planted faults are named, none kills anybody."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from conversion.formats.layout import stream_file
from conversion.formats.safetensors import plan_file
from conversion.inference.judge import Reference, judge
from conversion.inference.local import open_local
from conversion.inference.onnx_selftest import check_onnxruntime
from conversion.inference.report import Report
from conversion.inference.subjects import recognise
from tests.conversion.formats.onnx.test_onnx import nested
from tests.conversion.formats.onnx.writer import (
    FLOAT,
    INT8,
    STRING,
    external,
    floats,
    graph,
    linear,
    model,
    node,
    port,
    raw,
    tensor,
)

CHANCE = np.random.default_rng(9)
W, B = CHANCE.standard_normal((16, 5)).astype(np.float32), np.zeros(5, np.float32) + 0.1


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "parent.onnx"
    path.write_bytes(linear(W, B, batch="n"))
    return path


def judged(folder: Path, data: bytes, parent: Path | None = None) -> Report:
    (folder / "artifact.onnx").write_bytes(data)
    return judge(folder / "artifact.onnx", Reference("", parent) if parent else None)


def test_another_export_of_a_network_is_verified_by_running_both(tmp_path: Path, network: Path) -> None:
    report = judged(tmp_path, linear(W * np.float32(1 + 1e-6), B), network)
    assert report.verdict == "verified"
    assert report.checks["fidelity"].value["relative"] < 1e-5
    assert report.artifact["operators"] == {"MatMul": 1, "Add": 1, "Softmax": 1}
    assert report.artifact["inputs"] == ["x: F32 [1, 16]"]
    assert "valid by onnx's checker" in report.checks["load"].summary
    assert report.engine == str(check_onnxruntime())


def test_a_network_with_its_rows_in_another_order_is_damaged(tmp_path: Path, network: Path) -> None:
    report = judged(tmp_path, linear(W[::-1].copy(), B), network)
    assert report.verdict == "damaged"
    assert report.checks["fidelity"].code == "too-far-from-parent"


def test_the_weights_of_a_checkpoint_are_found_in_it_turned_or_not(tmp_path: Path) -> None:
    values = {"fc.weight": np.ascontiguousarray(W.T), "fc.bias": B}
    layout = plan_file([(name, array.shape, "F32") for name, array in values.items()])
    pieces = [(name, [array.tobytes()]) for name, array in values.items()]
    (tmp_path / "model.safetensors").write_bytes(b"".join(stream_file(layout, pieces)))
    report = judged(tmp_path, linear(W, B), tmp_path / "model.safetensors")
    assert (report.verdict, report.reason) == (
        "verified",
        "all 2 weights of its parent are in it, value for value",
    )
    other = judged(tmp_path, linear(W + 1, B), tmp_path / "model.safetensors")
    assert other.verdict == "loads"
    assert other.checks["fidelity"].value["not_found"] == ["fc.weight"]


INPUT, OUTPUT = port("x", FLOAT, [1, 4]), port("y", FLOAT, [1, 4])


def through(operator: str, **settings: str) -> bytes:
    """y = operator(x)."""
    domains = [settings["domain"]] if settings else []
    main = graph(nodes=[node(operator, ["x"], ["y"], **settings)], inputs=[INPUT], outputs=[OUTPUT])
    return model(main, domains=domains)


BROKEN = W.copy()
BROKEN[3, 2] = np.nan
ESCAPING = model(
    graph(
        nodes=[node("Add", ["x", "w"], ["y"])], inputs=[INPUT], outputs=[OUTPUT],
        tensors=[tensor("w", [1, 4], FLOAT, external(location="../../../etc/passwd"))],
    )
)  # fmt: skip
PLANTED = {
    "cut": (linear(W, B)[:-20], "damaged", "not a sound"),
    "weights outside": (ESCAPING, "damaged", "only a file in the same folder is read"),
    "absurd nesting": (nested(500), "damaged", "graphs within graphs"),
    "a NaN": (linear(BROKEN, B), "damaged", "NaN"),
    "an answer of NaN": (through("Log"), "damaged", "NaN or infinity in its output 'y'"),
    "an unknown operator": (through("Frobnicate", domain="ai.example"), "unsupported", "Frobnicate"),
    "an operator that no version has": (through("Frobnicate"), "unsupported", "Frobnicate"),
}


def test_another_export_may_give_the_names_of_weights_to_others(tmp_path: Path) -> None:
    def twice(first: str, second: str) -> bytes:
        """y = (x * a) / b, with a and b under these names."""
        nodes = [node("Mul", ["x", first], ["z"]), node("Div", ["z", second], ["y"])]
        weights = [floats(first, np.full((1, 4), 3.0)), floats(second, np.arange(1.0, 5.0).reshape(1, 4))]
        return model(graph(nodes=nodes, tensors=weights, inputs=[INPUT], outputs=[OUTPUT]))

    (tmp_path / "parent.onnx").write_bytes(twice("onnx::1", "onnx::2"))
    with ExitStack() as stack:
        reference = open_local(tmp_path / "parent.onnx", stack).reference(of_gguf=False)
        (tmp_path / "artifact.onnx").write_bytes(twice("onnx::2", "onnx::1"))
        report = judge(tmp_path / "artifact.onnx", reference)
    assert report.verdict == "verified", report.reason


def test_what_the_runtime_runs_against_the_checker_s_rules_is_warned_of(tmp_path: Path) -> None:
    twice = [node("Identity", ["z"], ["y"]), node("Neg", ["x"], ["z"])]  # not in the order of their use
    report = judged(tmp_path, model(graph(nodes=twice, inputs=[INPUT], outputs=[OUTPUT])))
    assert (report.verdict, report.checks["load"].verdict) == ("loads", "warn"), report.reason
    assert (
        "onnx's checker objects: Nodes in a graph must be topologically sorted"
        in report.checks["load"].summary
    )


def test_a_quantised_network_is_judged_as_its_class(tmp_path: Path, network: Path) -> None:
    """y = softmax(x dequantised(W8) + b)."""
    scale = float(np.abs(W).max()) / 127
    w8 = np.clip(np.round(W / scale), -127, 127).astype(np.int8)
    tensors = [tensor("w8", w8.shape, INT8, raw(w8)), floats("scale", np.array(scale)), floats("b", B)]
    nodes = [
        node("DequantizeLinear", ["w8", "scale"], ["w"]), node("MatMul", ["x", "w"], ["xw"]),
        node("Add", ["xw", "b"], ["z"]), node("Softmax", ["z"], ["y"]),
    ]  # fmt: skip
    ports = {"inputs": [port("x", FLOAT, [1, 16])], "outputs": [port("y", FLOAT, [1, 5])]}
    report = judged(tmp_path, model(graph(nodes=nodes, tensors=tensors, **ports)), network)
    assert (report.verdict, report.limits_class) == ("verified", "8 bit"), report.reason
    assert 0.999 < report.checks["fidelity"].value["cosine"] < 1


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_gets_its_verdict_and_a_reason(tmp_path: Path, fault: str) -> None:
    data, verdict, words = PLANTED[fault]
    report = judged(tmp_path, data)
    assert (report.verdict, words in report.reason) == (verdict, True), report.reason


def test_a_network_that_only_texts_would_move_is_judged_by_its_tensors(tmp_path: Path) -> None:
    texts = [port(name, STRING, [1]) for name in ("x", "y")]
    main = graph(nodes=[node("Identity", ["x"], ["y"])], inputs=texts[:1], outputs=texts[1:])
    report = judged(tmp_path, model(main))
    assert recognise(tmp_path / "artifact.onnx").kind == "onnx"
    assert report.verdict == "partial"
    assert report.reason == "its tensors are sound; it reads texts or sequences, which nobody here makes up"


def test_weights_beside_the_file_are_read_there_by_both(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(bytes(64) + np.ones((1, 4), np.float32).tobytes())
    (tmp_path / "w.bin").hardlink_to(tmp_path / "blob")
    outside = external(location="w.bin", offset=64, length=16)
    main = graph(
        nodes=[node("Add", ["x", "w"], ["y"])], inputs=[INPUT], outputs=[OUTPUT],
        tensors=[tensor("w", [1, 4], FLOAT, outside)],
    )  # fmt: skip
    report = judged(tmp_path, model(main))
    assert report.verdict == "loads", report.reason
    assert report.artifact["external_data"] == ["w.bin"]
    assert "valid by onnx's checker" in report.checks["load"].summary
    assert (tmp_path / "w.bin").stat().st_size == 80
