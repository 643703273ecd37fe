"""pytorch_model.bin becomes the very GGUF that the reference converter makes of it, and that safetensors become."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from conversion.formats.opening import open_weights
from conversion.formats.source import BytesSource, FileSource
from conversion.formats.weights import Weights, n_rows
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import Wish
from conversion.naming.planning import plan_from
from conversion.naming.slabs import file_pieces
from tests.conversion.naming.models import SAMPLES, config, write_checkpoint
from tests.fixtures.hostile.torch_raw import mapping, pickled, tensor, torch_legacy, torch_zip

WHOLE, INDEX = "model.safetensors", "pytorch_model.bin.index.json"
SHARDS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
REFERENCE_SHA256 = "d1ac524efa7eb3d7f6dd32bd234b427c9eb8cc20817a16271ea24b73373ea908"
"""Of the F16 file that convert_hf_to_gguf.py (llama-cpp-python 0.3.36, torch 2.13) made of a folder `binmodel` with the
sample family's base in two shards: names in reverse order, matrices of the second shard saved as transposes."""


def converted(weights: Weights, folder: Path, file_type: str) -> bytes:
    plan, weights = plan_from(weights, folder, Wish(FILE_TYPES[file_type]))
    return b"".join(piece.data for piece in file_pieces(plan, weights, slab_elements=1 << 16))


def saved(values: dict[str, np.ndarray], form: str) -> bytes:
    """A file of torch.save with these tensors, as the form says: `zip`, `legacy`, or a zip of `transposed` matrices."""
    tensors, held = {}, {}
    for key, (name, value) in enumerate(values.items()):
        strides = [value.shape[-1], 1][-value.ndim :]
        if form == "transposed" and value.ndim == 2:
            strides, held[str(key)] = [1, value.shape[0]], np.ascontiguousarray(value.T).tobytes()
        else:
            held[str(key)] = value.tobytes()
        tensors[name] = tensor(str(key), count=value.size, shape=value.shape, strides=strides)
    pickle = pickled(mapping({"state_dict": mapping(tensors)}))
    storages = [(key, len(data) // 4, data) for key, data in held.items()]
    return torch_legacy(pickle, storages) if form == "legacy" else torch_zip(pickle, held)


@pytest.mark.parametrize("form", ["zip", "legacy", "transposed"])
def test_the_gguf_does_not_depend_on_the_container(form: str, tmp_path: Path) -> None:
    values = write_checkpoint(tmp_path, config())
    with FileSource(tmp_path / "model.safetensors") as source:
        expected = converted(open_weights({"model.safetensors": source}), tmp_path, "Q8_0")
    file = saved(values, form)
    assert converted(open_weights({"pytorch_model.bin": BytesSource(file)}), tmp_path, "Q8_0") == expected


def test_shards_of_pytorch_become_the_bytes_of_the_reference_converter(tmp_path: Path) -> None:
    folder = tmp_path / "binmodel"
    shutil.copytree(SAMPLES / "base-f32", folder, ignore=shutil.ignore_patterns("*.safetensors", "*.md"))
    base = open_weights({WHOLE: BytesSource((SAMPLES / "base-f32" / WHOLE).read_bytes())})
    names = sorted(base.entries, reverse=True)
    values = {name: base.rows(name, 0, n_rows(base.entries[name])) for name in names}
    values = {name: value.reshape(base.entries[name].shape) for name, value in values.items()}
    half = len(names) // 2
    weight_map = dict.fromkeys(names[:half], SHARDS[0]) | dict.fromkeys(names[half:], SHARDS[1])
    sources = {INDEX: BytesSource(json.dumps({"weight_map": weight_map}).encode())}
    for shard, form in zip(SHARDS, ("zip", "transposed"), strict=True):
        held = {name: values[name] for name in names if weight_map[name] == shard}
        sources[shard] = BytesSource(saved(held, form))
    made = converted(open_weights(sources), folder, "F16")
    assert hashlib.sha256(made).hexdigest() == REFERENCE_SHA256
