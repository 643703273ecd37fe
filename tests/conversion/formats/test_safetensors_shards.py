"""Shards and index are planned as the hub's own client splits them, and read back as one checkpoint."""

import json

import numpy as np
import pytest
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors.numpy import save

from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.layout import stream_file
from conversion.formats.safetensors_shards import CheckpointLayout, in_reference_order, plan_checkpoint
from conversion.formats.source import BytesSource

RNG = np.random.default_rng(3)
ARRAYS = {f"layer.{n}.weight": RNG.standard_normal((n % 5 + 1, 64)).astype(np.float32) for n in range(24)}
ARRAYS["huge"] = RNG.standard_normal((40, 64)).astype(np.float32)
ARRAYS["tail"] = np.zeros(3, dtype=np.float32)
TENSORS = [(name, array.shape, "F32") for name, array in ARRAYS.items()]


def written(planned: CheckpointLayout) -> dict[str, bytes]:
    files = {
        path: b"".join(stream_file(layout, ((e.name, [ARRAYS[e.name].tobytes()]) for e in layout.entries)))
        for path, layout in planned.files.items()
    }
    return files | ({"model.safetensors.index.json": planned.index} if planned.index else {})


@pytest.mark.parametrize("limit", [1, 1000, 4096, 10_000, 10**9])
def test_tensors_are_split_as_the_hub_client_splits_them(limit: int) -> None:
    planned = plan_checkpoint(TENSORS, max_shard_bytes=limit)
    theirs = split_state_dict_into_shards_factory(
        ARRAYS, get_storage_size=lambda array: array.nbytes, max_shard_size=limit,
        filename_pattern="model{suffix}.safetensors",
    )  # fmt: skip
    ours = {path: [entry.name for entry in layout.entries] for path, layout in planned.files.items()}
    assert ours == theirs.filename_to_tensors
    if theirs.is_sharded:
        index = json.loads(planned.index)
        assert index["metadata"] == theirs.metadata
        assert list(index["weight_map"]) == sorted(ARRAYS)


def test_what_is_written_in_shards_is_read_as_one() -> None:
    planned = plan_checkpoint(TENSORS, {"format": "pt", "made": "of"}, max_shard_bytes=4096)
    files = written(planned)
    assert sum(map(len, files.values())) == planned.size_bytes
    checkpoint = open_checkpoint({path: BytesSource(data) for path, data in files.items()})
    assert (checkpoint.metadata, checkpoint.unlisted) == ({"format": "pt", "made": "of"}, ())
    assert {name: checkpoint.read_tensor(name) for name in checkpoint.entries} == {
        name: array.tobytes() for name, array in ARRAYS.items()
    }


def test_a_small_checkpoint_is_one_file_with_the_bytes_of_the_reference() -> None:
    arrays = {
        "b": ARRAYS["tail"],
        "a": np.zeros(2, np.int64),
        "c": np.ones(4, np.float16),
        "d": ARRAYS["tail"],
    }
    dtypes = {"b": "F32", "a": "I64", "c": "F16", "d": "F32"}
    planned = plan_checkpoint(in_reference_order((n, a.shape, dtypes[n]) for n, a in arrays.items()))
    (layout,) = planned.files.values()
    data = b"".join(stream_file(layout, ((e.name, [arrays[e.name].tobytes()]) for e in layout.entries)))
    assert (list(planned.files), planned.index) == (["model.safetensors"], b"")
    assert data == save(arrays, metadata={"format": "pt"})


def test_a_name_in_two_shards_is_refused() -> None:
    with pytest.raises(ValueError, match="the name is taken"):
        plan_checkpoint([("a", [8], "U8"), ("a", [8], "U8")], max_shard_bytes=8)
