"""A GGUF with only the first layers of another: what a worker can run of a model that it cannot hold.

The header says fewer blocks, arrays of the architecture with one element a block are cut as well, tensors of other
blocks are left out (a layer's experts with it), everything else is copied byte by byte. What the model then says is
what its output layer makes of the state after those layers: the same for parent and artifact, so they can be compared.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from conversion.formats.errors import HeaderError
from conversion.formats.gguf.types import SCALAR_FORMATS, ValueType
from conversion.formats.gguf.weights import SPLIT_KEYS, GgufWeights
from conversion.formats.gguf.writer import GgufLayout, Stored, Value, plan_file
from conversion.formats.layout import TensorEntry

BLOCK_COUNT = "block_count"
GUESSING_LAYERS = "nextn_predict_layers"
"""How many of the blocks, the last ones, guess the tokens after next; no part of the model itself."""

SHARED = ("attention.shared_kv_layers", "decoder_block_count", "hrm.layers_per_stack", "ple.layers")
"""With any of these, layers depend on others that lie further on, or the file holds more than one stack."""

_BLOCK = re.compile(r"blk\.(\d+)\.")
_ARRAY_HEAD = struct.Struct("<IQ")


def n_blocks(weights: GgufWeights) -> int:
    """The layers of the model, those for tokens after next not counted; HeaderError `gguf-cannot-cut` if unknown."""
    count = weights.header.get(_key(weights, BLOCK_COUNT))
    ahead = weights.header.get(_key(weights, GUESSING_LAYERS), 0)
    if type(count) is not int or type(ahead) is not int or not 0 <= ahead < count:
        raise HeaderError("gguf-cannot-cut", f"it does not say how many layers it has ({BLOCK_COUNT})")
    return count - ahead


def layer_bytes(weights: GgufWeights) -> dict[int, int]:
    """Layer -> bytes of its tensors; -1 for those of no layer, which every part of the model needs."""
    sizes: dict[int, int] = {}
    for entry in weights.entries.values():
        layer = _layer_of(entry)
        sizes[layer] = sizes.get(layer, 0) + entry.length
    return sizes


def plan_first_layers(weights: GgufWeights, n_layers: int) -> GgufLayout:
    """The file with layers 0 ... n_layers - 1; `splitting.copied` gives its bytes.

    HeaderError `gguf-cannot-cut` where layers cannot be told apart, or depend on later ones.
    """
    total = n_blocks(weights)
    shared = [key for key in SHARED if _key(weights, key) in weights.header.metadata]
    if shared or not 0 < n_layers <= total:
        what = f"layers depend on one another ({shared[0]})" if shared else f"it has {total} layers"
        raise HeaderError("gguf-cannot-cut", f"the first {n_layers} layers cannot stand alone: {what}")
    kept = [entry for entry in weights.entries.values() if _layer_of(entry) < n_layers]
    tensors = [(entry.name, entry.shape, entry.dtype) for entry in kept]
    return plan_file(_metadata(weights, n_layers, total), tensors, alignment=weights.alignment)


def _metadata(weights: GgufWeights, n_layers: int, total: int) -> Mapping[str, Value]:
    prefix, counts = (
        f"{_architecture(weights)}.",
        {total, int(weights.header.get(_key(weights, BLOCK_COUNT)))},
    )
    metadata: dict[str, Value] = {}
    for key, value in weights.read_metadata().items():
        is_by_layer = value.type is ValueType.ARRAY and weights.header.metadata[key].length in counts
        if key == prefix + BLOCK_COUNT:
            metadata[key] = replace(value, value=n_layers)
        elif key == prefix + GUESSING_LAYERS:
            metadata[key] = replace(value, value=0)
        elif key.startswith(prefix) and is_by_layer:
            metadata[key] = _first_elements(value, n_layers)
        elif key not in SPLIT_KEYS:
            metadata[key] = value
    return metadata


def _first_elements(value: Value, count: int) -> Value:
    """The array's first `count` elements, whether it was taken apart or kept as bytes."""
    held: Any = value.value
    if not isinstance(held, Stored):
        return replace(value, value=held[:count])
    if value.element_type not in SCALAR_FORMATS:
        raise HeaderError("gguf-cannot-cut", "it holds texts by layer")
    kind, _ = _ARRAY_HEAD.unpack_from(held.data)
    size = struct.calcsize(SCALAR_FORMATS[value.element_type])
    data = _ARRAY_HEAD.pack(kind, count) + held.data[_ARRAY_HEAD.size : _ARRAY_HEAD.size + count * size]
    return replace(value, value=Stored(data, held.preview[:count]))


def _layer_of(entry: TensorEntry) -> int:
    found = _BLOCK.match(entry.name)
    return int(found[1]) if found else -1


def _key(weights: GgufWeights, name: str) -> str:
    return f"{_architecture(weights)}.{name}"


def _architecture(weights: GgufWeights) -> str:
    return str(weights.header.get("general.architecture", ""))
