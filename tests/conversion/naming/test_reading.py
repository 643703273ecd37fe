"""Rows put together, transposed and shifted: any run of them equals the same run of the whole, made the naive way."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.formats.checkpoint import Checkpoint
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import in_reference_order, plan_gguf
from conversion.naming.reading import MAX_READ_ELEMENTS, Run, of_runs, plus_one, transposed
from conversion.naming.slabs import file_pieces
from tests.conversion.naming.models import open_folder
from tests.fixtures.architectures.fixture import Fixture, values, write_weights

TENSORS = [("a", "F32", (12, 5)), ("b", "BF16", (3, 4, 6)), ("norm", "F16", (40,)), ("shift", "BF16", (40,))]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder: Path = tmp_path_factory.mktemp("reading")
    write_weights(folder / "model.safetensors", TENSORS, [["norm|shift", 0.0, 0.01]])
    return open_folder(folder)


def whole(weights: Checkpoint, name: str) -> np.ndarray:
    shape = weights.entries[name].shape
    return weights.rows(name, 0, int(np.prod(shape[:-1]))).reshape(shape)


RUNS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 2)).map(
        lambda one: Run("a", one[0], one[1], one[2])
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=60)
@given(runs=RUNS, data=st.data())
def test_runs_follow_one_another(weights: Checkpoint, runs: list[Run], data: st.DataObject) -> None:
    matrix = whole(weights, "a")
    expected = np.concatenate([matrix[run.first :: run.step][: run.count] for run in runs])
    first = data.draw(st.integers(0, len(expected) - 1))
    count = data.draw(st.integers(1, len(expected) - first))
    np.testing.assert_array_equal(of_runs(runs)(weights, first, count), expected[first : first + count])


@settings(deadline=None, max_examples=60)
@given(step=st.sampled_from([1, 2, 3]), data=st.data())
def test_blocks_are_transposed_one_by_one(weights: Checkpoint, step: int, data: st.DataObject) -> None:
    stack, offset = whole(weights, "b"), data.draw(st.integers(0, step - 1))
    expected = stack[:, :, offset::step].swapaxes(1, 2).reshape(-1, 4)
    first = data.draw(st.integers(0, len(expected) - 1))
    count = data.draw(st.integers(1, len(expected) - first))
    read = transposed([Run("b", 4 * n, 4) for n in range(3)], 6 // step, step=step, offset=offset)
    np.testing.assert_array_equal(read(weights, first, count), expected[first : first + count])


def test_a_transpose_reads_a_large_block_a_few_rows_at_a_time(tmp_path: Path) -> None:
    rows, cols = 40, MAX_READ_ELEMENTS // 32
    write_weights(tmp_path / "model.safetensors", [("wide", "BF16", (rows, cols))], [])
    weights = open_folder(tmp_path)
    read = transposed([Run("wide", 0, rows)], cols)
    expected = weights.rows("wide", 0, rows).T[cols - 7 :]
    np.testing.assert_array_equal(read(weights, cols - 7, 7), expected)


def test_one_is_added_in_the_precision_of_an_f16_tensor_and_in_f32_otherwise(weights: Checkpoint) -> None:
    """As the reference adds: torch keeps F16, and turns BF16 into F32 beforehand."""
    half = whole(weights, "norm").astype(np.float16)
    expected = (half + np.float16(1)).astype(np.float32)
    np.testing.assert_array_equal(plus_one("norm")(weights, 0, 1), expected[None])
    assert not np.array_equal(expected, half.astype(np.float32) + np.float32(1))
    brain = whole(weights, "shift")
    np.testing.assert_array_equal(plus_one("shift")(weights, 0, 1), brain[None] + np.float32(1))
    assert np.abs(values("norm", (40,), [["norm", 0.0, 0.01]])).max() <= 0.01


@pytest.mark.parametrize(
    "name", ["gpt2-tiny", "gpt-oss-tiny", "gpt-oss-plain-tiny", "deepseek-v3-tiny", "falcon-40b-tiny"]
)
def test_a_file_is_the_same_however_small_its_slabs_and_from_any_byte_on(tmp_path: Path, name: str) -> None:
    folder = Fixture(name).write(tmp_path)
    weights = open_folder(folder)
    plan = plan_gguf(in_reference_order(weights), folder, FILE_TYPES["F16"])
    whole_file = b"".join(piece.data for piece in file_pieces(plan, weights))
    sliced = b"".join(piece.data for piece in file_pieces(plan, weights, slab_elements=200))
    assert sliced == whole_file
    start = len(whole_file) // 3 + 1
    rest = b"".join(piece.data for piece in file_pieces(plan, weights, start, slab_elements=500))
    assert rest == whole_file[start:]
