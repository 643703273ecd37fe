"""A file can be continued at any byte, in slabs of any size, from shards in any order: the bytes are the same."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.formats.checkpoint import Checkpoint
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import Plan, plan_gguf
from conversion.naming.slabs import file_pieces
from conversion.quants import QuantError
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
@pytest.mark.parametrize("name", FILE_TYPES)
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
    with pytest.raises(QuantError, match=r"model\.layers\.1\.mlp\.up_proj\.weight.* row 0, column 0 is nan"):
        whole(*planned(tmp_path / "bad"))
