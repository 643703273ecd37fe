"""ONNX files as exporters write them, and as nobody should: every fault is refused with its name, none costs much."""

import time
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from conversion.formats.errors import HeaderError
from conversion.formats.onnx import OnnxWeights, Port, files_beside, is_onnx, open_onnx, read_model
from conversion.formats.onnx.model import MAX_DEPTH
from conversion.formats.source import BytesSource, FileSource
from tests.conversion.formats.onnx import writer
from tests.conversion.formats.onnx.writer import (
    FLOAT,
    FLOAT16,
    INT32,
    INT64,
    attribute,
    blob,
    external,
    floats,
    graph,
    linear,
    model,
    node,
    number,
    packed,
    port,
    raw,
    tensor,
)

W, B = np.arange(12, dtype=np.float32).reshape(4, 3), np.ones(3, np.float32)


def opened(data: bytes, **beside: bytes) -> OnnxWeights:
    sources = {"model.onnx": BytesSource(data)} | {name: BytesSource(one) for name, one in beside.items()}
    return open_onnx("model.onnx", sources)


def refusal(data: bytes, **beside: bytes) -> str:
    with pytest.raises(HeaderError) as refused:
        opened(data, **beside)
    return refused.value.code


def test_what_a_graph_says_is_read_without_its_weights() -> None:
    found = read_model(BytesSource(linear(W, B, batch="n")))
    assert (found.ir_version, found.producer, found.opsets) == (7, "holdfast", {"": 13})
    assert found.inputs == [Port("x", "F32", ("n", 4))]
    assert found.outputs == [Port("y", "F32", ("n", 3))]
    assert dict(found.operators) == {"MatMul": 1, "Add": 1, "Softmax": 1}
    assert found.domains == ()


def test_our_own_files_are_sound_by_the_reference() -> None:
    onnx.checker.check_model(onnx.load_from_string(linear(W, B)), full_check=True)


@pytest.mark.parametrize("as_raw", [True, False])
@pytest.mark.parametrize("dtype", ["f4", "f2", "f8", "i1", "u1", "i2", "i4", "i8", "u8", "bool"])
def test_values_are_those_that_the_reference_reads(dtype: str, as_raw: bool) -> None:
    values = np.array([[0, 1, 3], [2, 100, 1]]).astype(dtype)
    kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    if as_raw:
        made = onnx.numpy_helper.from_array(values, "w")
    else:
        made = onnx.helper.make_tensor("w", kind, values.shape, values.reshape(-1).tolist())
    main = onnx.helper.make_graph([], "g", [], [], [made])
    weights = opened(onnx.helper.make_model(main).SerializeToString())
    assert weights.read_rows("w", 0, 2) == values.tobytes()
    np.testing.assert_array_equal(weights.rows("w", 1, 1), values[1:].astype(np.float32))


def test_negative_whole_numbers_survive_their_varints() -> None:
    weights = opened(model(graph(tensors=[tensor("w", [1, 3], INT64, packed(7, [2**64 - 1, 0, 2**63]))])))
    assert np.frombuffer(weights.read_rows("w", 0, 1), "<i8").tolist() == [-1, 0, -(2**63)]


def test_shapes_indices_and_single_numbers_are_no_weights() -> None:
    small = [tensor("shape", [2], INT64, packed(7, [1, 2])), tensor("epsilon", [], FLOAT, raw(B[:1]))]
    weights = opened(model(graph(tensors=[*small, floats("w", B)])))
    assert list(weights.entries) == ["w"]
    assert list(weights.model.tensors) == ["shape", "epsilon", "w"]


def test_weights_in_inner_graphs_are_found_by_the_way_to_them() -> None:
    constant = node("Constant", [], ["c"], attribute("value", 4, blob(5, floats("", W))))
    inner = graph(nodes=[constant], tensors=[floats("w", B)])
    outer = node("If", ["x"], ["y"], attribute("then_branch", 5, blob(6, inner)), name="choose")
    weights = opened(model(graph(nodes=[outer], tensors=[floats("w", W)])))
    assert list(weights.entries) == ["choose.then_branch/c", "choose.then_branch/w", "w"]
    assert weights.rows("choose.then_branch/w", 0, 1).tolist() == [B.tolist()]
    assert weights.rows("choose.then_branch/c", 3, 1).tolist() == [W[3].tolist()]
    assert weights.model.n_graphs == 2


def test_operators_of_other_domains_are_named() -> None:
    data = model(graph(nodes=[node("Gelu", ["x"], ["y"], domain="com.microsoft")]), domains=["com.microsoft"])
    assert read_model(BytesSource(data)).domains == ("com.microsoft",)


def test_a_file_cut_anywhere_is_refused() -> None:
    whole = linear(W, B)
    for length in range(len(whole) - 1):
        assert refusal(whole[:length]) in ("onnx-truncated", "onnx-incomplete", "onnx-magic"), length


def test_flipped_bits_are_read_or_refused_and_nothing_else() -> None:
    whole = linear(W, B)
    codes = []
    for bit in range(len(whole) * 8):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        try:
            opened(bytes(data))
        except HeaderError as error:
            codes.append(error.code)
    assert len(codes) > len(whole)
    assert all(code.startswith("onnx-") for code in codes)


def nested(depth: int) -> bytes:
    inner = graph(tensors=[floats("w", B)])
    for _ in range(depth - 1):
        inner = graph(nodes=[node("If", ["x"], ["y"], attribute("then_branch", 5, blob(6, inner)))])
    return model(inner)


def test_graphs_are_followed_to_a_limit_and_no_further() -> None:
    assert read_model(BytesSource(nested(MAX_DEPTH))).n_graphs == MAX_DEPTH
    assert refusal(nested(MAX_DEPTH + 1)) == "onnx-depth"
    assert refusal(nested(2000)) == "onnx-depth"


LOCATIONS = ["../secret", "/etc/passwd", "a/../../b", "a\\b", "C:evil", "", ".", "a//b", "a\0b"]


@pytest.mark.parametrize("location", LOCATIONS)
def test_weights_outside_the_folder_are_refused_before_anything_is_opened(location: str) -> None:
    data = model(graph(tensors=[tensor("w", [4], FLOAT, external(location=location))]))
    assert refusal(data) == "onnx-external-path"


def test_weights_in_another_file_are_read_from_there() -> None:
    where = external(location="w.bin", offset=8, length=16)
    data = model(graph(tensors=[tensor("w", [4], FLOAT, where)]))
    weights = opened(data, **{"w.bin": bytes(8) + B.tobytes() + B[:1].tobytes()})
    assert weights.model.locations == ("w.bin",)
    assert weights.rows("w", 0, 1).tolist() == [[1, 1, 1, 1]]
    assert refusal(data) == "onnx-external-missing"
    assert refusal(data, **{"w.bin": bytes(23)}) == "onnx-external-short"


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "w.bin").symlink_to(tmp_path / "secret")
    (folder / "m.onnx").write_bytes(
        model(graph(tensors=[tensor("w", [4], FLOAT, external(location="w.bin"))]))
    )
    with FileSource(folder / "m.onnx") as source:
        found = read_model(source)
    with pytest.raises(HeaderError, match="leads out") as refused:
        files_beside(folder / "m.onnx", found)
    assert refused.value.code == "onnx-external-path"


GOOD = raw(W)
UNSOUND = {
    "too few bytes": tensor("w", [4, 4], FLOAT, GOOD),
    "too many bytes": tensor("w", [4], FLOAT, GOOD),
    "no values": tensor("w", [4], FLOAT, b""),
    "an unknown type": tensor("w", [4], 99, GOOD),
    "a negative size": tensor("w", [-1], FLOAT, GOOD),
    "more elements than there are": tensor("w", [2**62, 4], FLOAT, GOOD),
    "33 dimensions": tensor("w", [1] * 33, FLOAT, GOOD),
    "two places": tensor("w", [4, 3], FLOAT, GOOD + GOOD),
    "floats of whole numbers": tensor("w", [4, 3], INT32, blob(4, W.tobytes())),
    "too few varints": tensor("w", [400], INT64, packed(7, [1] * 3)),
    "an offset that is none": tensor("w", [4], FLOAT, external(location="w.bin", offset="-1")),
    "another length": tensor("w", [4], FLOAT, external(location="w.bin", length=3)),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_a_tensor_that_cannot_be_is_refused(what: str) -> None:
    assert refusal(model(graph(tensors=[UNSOUND[what]]))) == "onnx-tensor"


def test_more_varints_than_the_shape_says_are_refused_when_they_are_read() -> None:
    weights = opened(model(graph(tensors=[tensor("w", [2], FLOAT16, packed(5, [1, 2, 3]))])))
    with pytest.raises(HeaderError, match="not the values"):
        weights.read_rows("w", 0, 1)


PLAIN = graph(tensors=[floats("w", B)])
REFUSED = {
    "onnx-magic": b"GGUF",
    "onnx-duplicate": model(graph(tensors=[floats("w", B), floats("w", B)])),
    "onnx-text": model(graph(tensors=[tensor("w", [4, 3], FLOAT, GOOD)], name="g")).replace(
        b"\x42\x01w", b"\x42\x01\xff"
    ),
    "onnx-numbers": model(graph(tensors=[packed(1, [1] * 400) + number(2, 1)])),
    "onnx-wire": model(PLAIN) + b"\x0b",
    "onnx-incomplete": model(PLAIN) + blob(7, PLAIN),
    "onnx-ports": model(graph(inputs=[port(f"x{n}", FLOAT, []) for n in range(10_001)])),
}


@pytest.mark.parametrize("code", REFUSED)
def test_every_other_fault_has_its_name(code: str) -> None:
    assert refusal(REFUSED[code]) == code


def test_millions_of_empty_fields_are_not_followed_to_their_end() -> None:
    started = time.process_time()
    assert refusal(model(graph(nodes=[b"\x28\x00" * 200_000]))) == "onnx-fields"
    assert time.process_time() - started < 5


@pytest.mark.parametrize("head", [b"", b"\x08", b"\x08\x08\x12\x07", b"\x0a\x07pytorch", b"PK\x03\x04"])
def test_only_what_begins_like_onnx_is_taken_for_it(head: bytes) -> None:
    assert is_onnx(head) is (head == b"\x08\x08\x12\x07")
    assert is_onnx(writer.model(PLAIN))
