"""What is said of tensors without running them, on files made for it and on a parent of four tensors."""

import numpy as np
import pytest

from conversion.formats.gguf import plan_file
from conversion.formats.gguf.weights import open_gguf
from conversion.formats.source import BytesSource
from conversion.inference import tensors
from conversion.inference.parents import stored_tensors
from conversion.inference.surveying import MAX_LINES, survey


def weights_of(**given):
    """A GGUF with these tensors: name -> (type, bytes, shape), or an array to be stored as F32."""
    given = {
        name: ("F32", v.tobytes(), v.shape) if isinstance(v, np.ndarray) else v for name, v in given.items()
    }
    layout = plan_file({}, [(name, shape, kind) for name, (kind, _, shape) in given.items()])
    data = bytearray(layout.header_bytes)
    for entry, (_, content, _) in zip(layout.entries, given.values(), strict=True):
        data += bytes(entry.start - len(data)) + content
    data += bytes(layout.size_bytes - len(data))
    return open_gguf({"file.gguf": BytesSource(bytes(data))})


def line_of(weights, parent=None):
    (line,) = survey(weights, parent).lines
    return line


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def test_figures_are_those_of_numpy_in_float64_over_several_slabs():
    values = normal(3000, 1000)
    values[:2], values[7] = 0, 5.5
    found = line_of(weights_of(w=values)).found
    wide = values.astype(np.float64)
    assert (found.n_values, found.n_rows, found.n_zero) == (3_000_000, 3000, 2000)
    assert (found.n_zero_rows, found.n_constant_rows) == (2, 3)
    assert (found.minimum, found.maximum) == (wide.min(), wide.max())
    assert found.mean == pytest.approx(wide.mean(), rel=1e-12)
    assert found.rms == pytest.approx(np.sqrt((wide**2).mean()), rel=1e-12)


def test_nan_and_infinity_are_counted_and_spoil_no_other_figure():
    values = normal(3000, 1000)
    expected = values.max()
    values[-1, -1], values[0, :2] = np.nan, [np.inf, -np.inf]
    found = line_of(weights_of(w=values)).found
    assert (found.n_nan, found.n_infinite, found.maximum) == (1, 2, expected)


def test_a_scale_that_is_nan_makes_nan_of_its_block():
    block = bytes([0x00, 0x7E]) + bytes(32)
    assert line_of(weights_of(w=("Q8_0", bytes(34) + block, (2, 32)))).found.n_nan == 32


def test_a_row_longer_than_memory_should_be_is_read_in_pieces(monkeypatch):
    monkeypatch.setattr(tensors, "WIDE", 1 << 10)
    monkeypatch.setattr(tensors, "SLAB_ELEMENTS", 1 << 8)
    values = normal(2, 4096)
    line = line_of(weights_of(w=values), stored_tensors(weights_of(w=values)))
    assert line.found.rms == pytest.approx(np.sqrt((values.astype(np.float64) ** 2).mean()))
    assert (line.found.n_rows, line.difference) == (0, None)


def test_types_that_we_cannot_decode_are_told():
    found = survey(weights_of(one=("Q8_K", bytes(292), (256,))))
    assert (found.lines, found.unread_types) == ([], ["Q8_K"])


def test_distances_are_those_of_numpy():
    ours, theirs = normal(500, 64), normal(500, 64)
    ours[:100] += np.float32(1e-3) * normal(100, 64, seed=1)
    line = line_of(weights_of(w=ours), stored_tensors(weights_of(w=theirs)))
    apart = (ours - theirs).astype(np.float64)
    assert line.difference.rmse == pytest.approx(np.sqrt((apart**2).mean()))
    assert line.difference.max_error == pytest.approx(np.abs(apart).max())
    assert line.difference.share_identical == pytest.approx((ours == theirs).mean())
    a, b = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    cosine = a @ b / np.sqrt((a @ a) * (b @ b))
    assert line.difference.cosine(line.found.squares) == pytest.approx(cosine, abs=1e-9)


def test_names_and_shapes_without_a_counterpart_are_listed():
    parent = stored_tensors(weights_of(a=normal(4, 8), b=normal(4, 8)))
    found = survey(weights_of(a=normal(8, 4), c=normal(4, 8)), parent)
    assert (found.missing, found.unexpected, found.misshapen) == (["b"], ["c"], ["a"])


def test_a_long_table_keeps_its_worst_lines_and_the_digest_of_all():
    given = {f"t{number}": normal(1, 4) for number in range(MAX_LINES + 1)}
    given["t7"] = np.full((1, 4), np.nan, np.float32)
    whole = survey(weights_of(**{name: given[name] for name in list(given)[:-1]})).table()
    cut = survey(weights_of(**given)).table()
    assert (whole["is_whole"], len(whole["rows"])) == (True, MAX_LINES)
    assert (cut["is_whole"], cut["n_tensors"], cut["rows"][0][0]) == (False, MAX_LINES + 1, "t7")
    assert len(cut["sha256"]) == 64
    assert all(len(row) == len(cut["columns"]) for row in cut["rows"])
