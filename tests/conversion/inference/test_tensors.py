import numpy as np

from conversion.formats.gguf import plan_file
from conversion.formats.source import BytesSource
from conversion.inference.tensors import inspect_tensors


def inspected(**tensors):
    """Findings for a file with these tensors: name -> (type, bytes, shape)."""
    layout = plan_file({}, [(name, shape, kind) for name, (kind, _, shape) in tensors.items()])
    data = bytearray(layout.header_bytes)
    for entry, (_, content, _) in zip(layout.entries, tensors.values(), strict=True):
        data += bytes(entry.start - len(data)) + content
    data += bytes(layout.size_bytes - len(data))
    return inspect_tensors(BytesSource(bytes(data)), layout.entries)


def test_what_is_not_finite_or_nothing_but_zeros_is_named():
    values = np.arange(32, dtype=np.float32)
    bad = values.copy()
    bad[31] = np.inf
    found = inspected(
        good=("F32", values.tobytes(), (2, 16)),
        bad=("F32", bad.tobytes(), (32,)),
        zero=("F16", bytes(64), (32,)),
    )
    assert (found.n_read, found.not_finite, found.all_zero) == (3, ["bad"], ["zero"])


def test_a_scale_that_is_nan_is_found_in_a_quantised_tensor():
    block = bytes([0x00, 0x7E]) + bytes(32)
    found = inspected(bad=("Q8_0", bytes(34) + block, (2, 32)))
    assert found.not_finite == ["bad"]


def test_a_tensor_larger_than_a_slab_is_read_to_its_end():
    values = np.zeros(3_000_000, np.float32)
    values[-1] = np.nan
    found = inspected(large=("F32", values.tobytes(), (3000, 1000)))
    assert found.not_finite == ["large"]


def test_types_that_we_cannot_decode_are_told():
    found = inspected(one=("Q8_K", bytes(292), (256,)))
    assert (found.n_read, found.unread_types) == (0, ["Q8_K"])
