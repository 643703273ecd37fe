"""A GGUF's first layers: fewer blocks, everything else as it was."""

import pytest

from conversion.formats.errors import HeaderError
from conversion.formats.gguf import ValueType, array, plan_file, string, uint32
from conversion.formats.gguf.cut import layer_bytes, n_blocks, plan_first_layers
from conversion.formats.gguf.splitting import copied
from conversion.formats.gguf.weights import open_gguf
from conversion.formats.source import BytesSource

LAYERS = 12


def opened(data):
    return open_gguf({"file.gguf": BytesSource(bytes(data))})


def model(n_layers=LAYERS, **more):
    """A file with a vector in each layer, one of no layer, and an array of one number a layer."""
    metadata = {
        "general.architecture": string("llama"),
        "llama.block_count": uint32(n_layers),
        "llama.attention.head_count_kv": array(ValueType.UINT32, list(range(n_layers))),
        "llama.rope.dimension_sections": array(ValueType.INT32, [1, 2, 3]),
        "tokenizer.ggml.scores": array(ValueType.FLOAT32, [0.5] * n_layers),
    } | {key.replace("__", "."): value for key, value in more.items()}
    names = ["token_embd.weight", *(f"blk.{n}.attn_norm.weight" for n in range(n_layers))]
    layout = plan_file(metadata, [(name, (8,), "F32") for name in names])
    data = bytearray(layout.header_bytes) + bytes(layout.size_bytes - len(layout.header_bytes))
    for number, entry in enumerate(layout.entries):
        data[entry.start : entry.end] = bytes([number]) * entry.length
    return opened(data)


def cut(weights, n_layers):
    return opened(b"".join(copied(weights, plan_first_layers(weights, n_layers))))


def elements(weights, key):
    return weights.read_metadata()[key].value


@pytest.mark.parametrize(
    "n_layers", [4, LAYERS]
)  # short arrays are taken apart while reading, long ones are not
def test_tensors_and_arrays_of_other_layers_are_gone_and_nothing_else_changes(n_layers):
    whole = model(n_layers)
    part = cut(whole, 3)
    assert list(part.entries) == ["token_embd.weight", *(f"blk.{n}.attn_norm.weight" for n in range(3))]
    assert [part.read_rows(name, 0, 1) for name in part.entries] == [
        whole.read_rows(name, 0, 1) for name in part.entries
    ]
    assert n_blocks(part) == 3
    assert elements(part, "llama.attention.head_count_kv") == [0, 1, 2]
    assert part.header.metadata["tokenizer.ggml.scores"].length == n_layers
    assert elements(part, "llama.rope.dimension_sections") == [1, 2, 3]
    assert list(part.metadata) == list(whole.metadata)


def test_layers_that_only_guess_ahead_are_not_counted_and_not_announced():
    weights = model(llama__nextn_predict_layers=uint32(2))
    assert n_blocks(weights) == LAYERS - 2
    assert cut(weights, 2).header.get("llama.nextn_predict_layers") == 0


def test_bytes_are_counted_by_layer():
    assert layer_bytes(model(2)) == {-1: 32, 0: 32, 1: 32}


@pytest.mark.parametrize(("n_layers", "more"), [
    (0, {}), (LAYERS + 1, {}), (2, {"llama__attention__shared_kv_layers": uint32(2)}),
    (2, {"llama__block_count": string("many")}), (2, {"llama__block_count": uint32(0)}),
])  # fmt: skip
def test_what_cannot_stand_alone_is_refused(n_layers, more):
    with pytest.raises(HeaderError) as caught:
        plan_first_layers(model(**more), n_layers)
    assert caught.value.code == "gguf-cannot-cut"
