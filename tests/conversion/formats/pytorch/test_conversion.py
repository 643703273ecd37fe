"""pytorch_model.bin becomes the very GGUF that the same weights become as safetensors."""

from pathlib import Path

import numpy as np
import pytest

from conversion.formats.opening import open_weights
from conversion.formats.source import BytesSource, FileSource
from conversion.formats.weights import Weights
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import plan_gguf
from conversion.naming.slabs import file_pieces
from tests.conversion.naming.models import config, write_checkpoint
from tests.fixtures.hostile.torch_raw import mapping, pickled, tensor, torch_legacy, torch_zip


def converted(weights: Weights, folder: Path, file_type: str) -> bytes:
    plan = plan_gguf(weights.entries, folder, FILE_TYPES[file_type])
    return b"".join(piece.data for piece in file_pieces(plan, weights, slab_elements=4096))


@pytest.mark.parametrize("form", ["zip", "legacy", "transposed"])
def test_the_gguf_does_not_depend_on_the_container(form: str, tmp_path: Path) -> None:
    values = write_checkpoint(tmp_path, config())
    with FileSource(tmp_path / "model.safetensors") as source:
        as_safetensors = open_weights({"model.safetensors": source})
        expected = converted(as_safetensors, tmp_path, "Q8_0")
        names = list(as_safetensors.entries)
    tensors, held = {}, {}
    for key, name in enumerate(names):
        value: np.ndarray = values[name]
        strides = [value.shape[-1], 1][-value.ndim :]
        if form == "transposed" and value.ndim == 2:
            strides, held[str(key)] = [1, value.shape[0]], np.ascontiguousarray(value.T).tobytes()
        else:
            held[str(key)] = value.tobytes()
        tensors[name] = tensor(str(key), count=value.size, shape=value.shape, strides=strides)
    pickle = pickled(mapping({"state_dict": mapping(tensors)}))
    storages = [(key, len(data) // 4, data) for key, data in held.items()]
    file = torch_legacy(pickle, storages) if form == "legacy" else torch_zip(pickle, held)
    assert converted(open_weights({"pytorch_model.bin": BytesSource(file)}), tmp_path, "Q8_0") == expected
