"""Files written in whole pieces: the bytes are those of the plan, wherever slabs, pieces and tensors end."""

from pathlib import Path

import numpy as np
import pytest

from conversion.command import writing
from conversion.command.writing import Output, write_files
from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.layout import stream_file
from conversion.formats.safetensors import plan_file
from conversion.formats.source import FileSource
from conversion.naming.slabs import file_pieces
from conversion.naming.to_safetensors import plan_safetensors
from conversion.quants import QuantError

SHAPES = {"a": (3, 5), "b": (700, 31), "c": (1,), "d": (64, 64, 7)}


def encoded(values: np.ndarray, dtype: str) -> bytes:
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def write_source(path: Path, dtype: str, spoiled: bool = False) -> None:
    noise = np.random.default_rng(1)
    layout = plan_file([("odd", (3,), "U8"), *((name, shape, dtype) for name, shape in SHAPES.items())])
    data = [("odd", b"odd")]
    for name, shape in SHAPES.items():
        values = noise.normal(0, 1, shape).astype(np.float32)
        if spoiled and name == "b":
            values[300, 7] = np.inf
        data.append((name, encoded(values, dtype)))
    with path.open("wb") as file:
        for piece in stream_file(layout, ((name, [part]) for name, part in data)):
            file.write(piece)


@pytest.mark.parametrize(("n_threads", "piece_bytes"), [(1, 64), (1, 1 << 20), (3, 4096)])
@pytest.mark.parametrize("kinds", [("BF16", "F16"), ("F16", "BF16"), ("F32", "BF16"), ("BF16", "F32")])
def test_the_pieces_a_file_is_written_in_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, str], n_threads: int, piece_bytes: int
) -> None:
    monkeypatch.setattr(writing, "WRITE_BYTES", piece_bytes)
    monkeypatch.setattr(writing, "PLAIN_SLAB_ELEMENTS", 1000)
    write_source(tmp_path / "model.safetensors", kinds[0])
    with FileSource(tmp_path / "model.safetensors") as source:
        weights = open_checkpoint({"model.safetensors": source})
        plan = plan_safetensors(weights.entries, kinds[1]).files["model.safetensors"]
        write_files([Output(tmp_path / "made", plan)], weights, n_threads=n_threads)
        expected = b"".join(piece.data for piece in file_pieces(plan, weights))
    assert (tmp_path / "made").read_bytes() == expected


@pytest.mark.parametrize(("stored", "made"), [("BF16", "F16"), ("F32", "BF16"), ("BF16", "F32")])
def test_what_is_not_finite_is_named_and_nothing_is_left(tmp_path: Path, stored: str, made: str) -> None:
    write_source(tmp_path / "model.safetensors", stored, spoiled=True)
    with FileSource(tmp_path / "model.safetensors") as source:
        weights = open_checkpoint({"model.safetensors": source})
        plan = plan_safetensors(weights.entries, made).files["model.safetensors"]
        with pytest.raises(QuantError, match="row 300, column 7 is inf") as raised:
            write_files([Output(tmp_path / "made", plan)], weights)
    assert raised.value.code == "non-finite-weights"
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
