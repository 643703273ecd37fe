"""A file can be continued at any byte, in slabs of any size, from shards in any order: the bytes are the same."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.gguf import plan_file
from conversion.formats.weights import Weights
from conversion.naming.base import Packed, Rows, Target
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import Plan, plan_gguf
from conversion.naming.slabs import file_pieces
from conversion.quants import QuantError, dequantize, quantize
from tests.conversion.naming.models import config, open_folder, write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small"
    write_checkpoint(path, config())
    return path


def planned(folder: Path, name: str = "Q4_0") -> tuple[Plan, Checkpoint]:
    checkpoint = open_folder(folder)
    return plan_gguf(checkpoint.entries, folder, FILE_TYPES[name]), checkpoint


def whole(plan: Plan, checkpoint: Checkpoint, **options: int) -> bytes:
    return b"".join(piece.data for piece in file_pieces(plan, checkpoint, **options))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_range_is_that_part_of_the_file(folder: Path, data: st.DataObject) -> None:
    plan, checkpoint = planned(folder)
    expected, size = whole(plan, checkpoint), plan.layout.size_bytes
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    assert whole(plan, checkpoint, start=start, end=end, slab_elements=4096) == expected[start:end]


@pytest.mark.parametrize("slab_elements", [1, 1000, 5000, 1 << 20])
@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q8_0", "Q4_0"])
def test_the_size_of_the_slabs_does_not_matter(folder: Path, name: str, slab_elements: int) -> None:
    plan, checkpoint = planned(folder, name)
    made = whole(plan, checkpoint, slab_elements=slab_elements)
    assert len(made) == plan.layout.size_bytes
    assert made == whole(plan, checkpoint)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_shards_make_the_same_file_as_one_file(tmp_path: Path, dtype: str) -> None:
    write_checkpoint(tmp_path / "one" / "same", config(), dtype=dtype)
    write_checkpoint(tmp_path / "many" / "same", config(), dtype=dtype, shards=3)
    assert whole(*planned(tmp_path / "one" / "same")) == whole(*planned(tmp_path / "many" / "same"))


def test_pieces_name_the_tensor_they_belong_to(folder: Path) -> None:
    plan, checkpoint = planned(folder)
    names = [piece.tensor for piece in file_pieces(plan, checkpoint) if piece.tensor]
    assert names == [entry.name for entry in plan.layout.entries]


def test_weights_that_ggml_refuses_are_refused_by_name(tmp_path: Path) -> None:
    values = write_checkpoint(tmp_path / "bad", config())
    path = tmp_path / "bad" / "model.safetensors"
    data = bytearray(path.read_bytes())
    entry = open_folder(tmp_path / "bad").entries["model.layers.1.mlp.up_proj.weight"]
    data[entry.start : entry.start + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    assert np.isfinite(values["model.layers.1.mlp.up_proj.weight"]).all()
    for name in ("Q4_0", "F32"):  # F32 is moved as it is stored, but not unseen
        with pytest.raises(
            QuantError, match=r"model\.layers\.1\.mlp\.up_proj\.weight.* row 0, column 0 is nan"
        ):
            whole(*planned(tmp_path / "bad", name))


LAYERS = [f"model.layers.{n}.mlp.up_proj.weight" for n in range(2)]


def made(checkpoint: Checkpoint, target: Target, kind: str = "F32", slab_elements: int = 700) -> bytes:
    """The bytes of one target in a file of its own, made in small slabs."""
    layout = plan_file({}, [(target.name, target.shape, kind)])
    data = whole(Plan(FILE_TYPES["F32"], layout, (target,)), checkpoint, slab_elements=slab_elements)
    return data[layout.entries[0].start : layout.entries[0].end]


def test_several_tensors_become_one_stack_and_keep_their_order(folder: Path) -> None:
    checkpoint = open_folder(folder)
    stacked = made(checkpoint, Target("up_exps", (2, 96, 64), sources=tuple(LAYERS)))
    assert stacked == b"".join(checkpoint.read_tensor(name) for name in LAYERS)


def test_a_stack_is_arranged_within_each_of_its_tensors(folder: Path) -> None:
    checkpoint = open_folder(folder)
    upside_down = Target(
        "up_exps", (2, 96, 64), sources=tuple(LAYERS), rows_together=96, arrange=lambda rows: rows[::-1]
    )
    expected = [checkpoint.rows(name, 0, 96)[::-1].tobytes() for name in LAYERS]
    assert made(checkpoint, upside_down) == b"".join(expected)


def test_a_target_may_be_read_in_a_way_of_its_own(folder: Path) -> None:
    checkpoint = open_folder(folder)

    def transposed(weights: Weights, first: int, count: int) -> Rows:
        return np.ascontiguousarray(weights.rows(LAYERS[0], 0, 96).T[first : first + count])

    expected = np.ascontiguousarray(checkpoint.rows(LAYERS[0], 0, 96).T).tobytes()
    assert made(checkpoint, Target("up", (64, 96), read=transposed)) == expected


def test_packed_bytes_are_moved_and_never_quantised_again(folder: Path) -> None:
    checkpoint = open_folder(folder)
    blocks = quantize(checkpoint.rows(LAYERS[0], 0, 96), "Q8_0")
    packed = Packed("Q8_0", lambda weights, first, count: blocks[first : first + count].tobytes())
    assert made(checkpoint, Target("up", (96, 64), packed=packed), "Q8_0") == blocks.tobytes()


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_rows_are_the_numbers_that_are_stored_and_may_fill_a_given_buffer(tmp_path: Path, dtype: str) -> None:
    values = write_checkpoint(tmp_path / "m", config(), dtype=dtype)[LAYERS[0]]
    expected = dequantize(quantize(values, dtype), dtype, 64)
    checkpoint, buffer = open_folder(tmp_path / "m"), np.empty((3, 64), dtype=np.float32)
    assert np.array_equal(checkpoint.rows(LAYERS[0], 0, 96), expected)
    assert checkpoint.rows(LAYERS[0], 5, 3, out=buffer) is buffer
    assert np.array_equal(buffer, expected[5:8])
