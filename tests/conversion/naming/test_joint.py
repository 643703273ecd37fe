"""Several files of one pass are, byte for byte, those of a pass each, from any bytes on; rows are read once."""

import numpy as np
import pytest

from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.source import CountingSource, FileSource
from conversion.formats.weights import Weights
from conversion.naming.file_types import file_type_by_name
from conversion.naming.joint import joint_pieces
from conversion.naming.plan import Plan, in_reference_order, plan_gguf
from conversion.naming.slabs import file_pieces
from tests.conversion.inference.ggufs import BASE

NAMES = ("F16", "Q8_0", "F32", "Q4_0")


@pytest.fixture(scope="module")
def counted() -> CountingSource:
    return CountingSource(FileSource(BASE / "model.safetensors"))


@pytest.fixture(scope="module")
def weights(counted: CountingSource) -> Weights:
    return open_checkpoint({"model.safetensors": counted})


@pytest.fixture(scope="module")
def plans(weights: Weights) -> list[Plan]:
    return [plan_gguf(in_reference_order(weights), BASE, file_type_by_name(name)) for name in NAMES]


def made(plans: list[Plan], weights: Weights, starts: list[int], **options: int) -> list[bytes]:
    files = [b""] * len(plans)
    for part in joint_pieces(plans, weights, starts, **options):
        files[part.file] += part.piece.data
    return files


@pytest.mark.parametrize("slab_elements", [1 << 21, 5_000])
def test_together_they_are_what_each_is_alone(
    plans: list[Plan], weights: Weights, slab_elements: int
) -> None:
    alone = [b"".join(piece.data for piece in file_pieces(plan, weights)) for plan in plans]
    assert made(plans, weights, [0] * len(plans), slab_elements=slab_elements) == alone


def test_each_goes_on_where_it_stopped(plans: list[Plan], weights: Weights) -> None:
    whole = made(plans, weights, [0] * len(plans))
    random = np.random.default_rng(3)
    for _ in range(3):
        starts = [int(random.integers(0, plan.layout.size_bytes + 1)) for plan in plans]
        assert made(plans, weights, starts) == [
            data[start:] for data, start in zip(whole, starts, strict=True)
        ]


def test_files_of_one_order_read_every_row_once(
    plans: list[Plan], weights: Weights, counted: CountingSource
) -> None:
    before = counted.bytes_read
    made([plans[1], plans[3]], weights, [0, 0])
    assert counted.bytes_read - before == sum(entry.length for entry in weights.entries.values())
