"""A safetensors file in memory, of any dtype, as Weights."""

import json
from collections.abc import Mapping

import numpy as np

from conversion.formats.checkpoint import Checkpoint, open_checkpoint
from conversion.formats.source import BytesSource

DTYPES = {"<f4": "F32", "<f2": "F16", "<i4": "I32", "<i8": "I64", "|u1": "U8", "|i1": "I8"}


def checkpoint_of(tensors: Mapping[str, np.ndarray], dtypes: Mapping[str, str] = {}) -> Checkpoint:
    """The arrays as a checkpoint; `dtypes` names those that numpy lacks, whose arrays then hold raw bytes."""
    header, data = {}, b""
    for name, array in tensors.items():
        start = len(data)
        data += np.ascontiguousarray(array).tobytes()
        dtype = dtypes.get(name) or DTYPES[array.dtype.str]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return open_checkpoint({"model.safetensors": BytesSource(len(text).to_bytes(8, "little") + text + data)})
