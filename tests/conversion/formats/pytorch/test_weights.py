"""PyTorch checkpoints give what torch.load gives, however their tensors lie; `answers.json` was written by torch."""

import ast
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from conversion.formats.errors import HeaderError
from conversion.formats.pytorch import TorchWeights, open_pytorch
from conversion.formats.pytorch import weights as weights_module
from conversion.formats.pytorch.weights import MAX_RANGE_BYTES
from conversion.formats.source import BytesSource, CountingSource, RangeSource
from conversion.formats.weights import n_columns, n_rows
from tests.fixtures.hostile.torch_raw import mapping, pickled, tensor, torch_legacy, torch_zip

FIXTURES = Path(__file__).parents[3] / "fixtures/pickles"
ANSWERS = json.loads((FIXTURES / "answers.json").read_text())
FIRST, SECOND = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"
INDEX = "pytorch_model.bin.index.json"


def read(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


def opened(files: Mapping[str, bytes]) -> TorchWeights:
    return open_pytorch({path: BytesSource(data) for path, data in files.items()})


def found(weights: TorchWeights) -> dict[str, list[object]]:
    return {
        name: [entry.dtype, list(entry.shape), hashlib.sha256(weights.read_tensor(name)).hexdigest()]
        for name, entry in weights.entries.items()
    }


@pytest.mark.parametrize("file", ["kinds.pt", "kinds-legacy.pt", "kinds-protocol-4.pt"])
def test_every_dtype_stride_and_form_of_file_reads_as_torch_reads_it(file: str) -> None:
    weights = opened({file: read(file)})
    assert found(weights) == ANSWERS["kinds"]
    assert weights.aliases == {"tied": "base"}
    for name, entry in weights.entries.items():
        whole = weights.read_tensor(name)
        rows = [weights.read_rows(name, row, 1) for row in range(n_rows(entry))]
        assert b"".join(rows) == whole
        assert weights.read_bytes(name, 1, max(0, len(whole) - 2)) == whole[1:-1]  # mid-element, too


@pytest.mark.parametrize(
    ("file", "names"),
    [("state-dict.pt", "state"), ("no-crc.pt", "state"), ("trainer.pt", "state")],
)
def test_a_state_dict_is_found_where_trainers_put_it(file: str, names: str) -> None:
    assert found(opened({file: read(file)})) == ANSWERS[names]


def test_what_is_not_a_flat_dict_is_flattened_by_dots_and_positions() -> None:
    assert list(opened({"nested.pt": read("nested.pt")}).entries) == ["w.0", "w.1", "layers.0.b"]


def test_real_quantised_weights_are_read_with_their_scales() -> None:
    weights = opened({"model.pt": read("tinystoriesgru-0.2M-int8.pt")})
    assert len(weights.entries) == 38
    entry = weights.entries["token_emb.weight.0"]
    assert (entry.dtype, entry.shape) == ("I8", (98, 96))
    assert n_columns(weights.entries["token_emb.weight.1"]) == 1
    values = weights.rows("token_emb.weight.0", 3, 2) * weights.rows("token_emb.weight.1", 0, 1)
    assert np.abs(values).max() < 10


def test_shards_and_their_index_are_one_checkpoint() -> None:
    files = {FIRST: read("kinds.pt"), SECOND: read("state-dict.pt")}
    weight_map = dict.fromkeys(ANSWERS["kinds"], FIRST) | dict.fromkeys(ANSWERS["state"], SECOND)
    index = {INDEX: json.dumps({"metadata": {}, "weight_map": weight_map}).encode()}
    beside = {"training_args.bin": b"?", "optimizer.pt": b"?"}
    assert found(opened(files | index | beside)) == ANSWERS["kinds"] | ANSWERS["state"]
    with pytest.raises(HeaderError, match="1 of 2 shards are missing"):
        opened({FIRST: files[FIRST]} | index)
    with pytest.raises(HeaderError, match="no shard has it"):
        opened({FIRST: files[FIRST], SECOND: read("nested.pt")} | index)
    with pytest.raises(HeaderError, match=rf"it is in {FIRST} and in {SECOND}"):
        opened({FIRST: files[FIRST], SECOND: files[FIRST]} | index)


REFUSED = {
    "quantised.pt": ("pt-quantised", r"\.dequantize\(\)"),
    "sparse.pt": ("pt-global", "_rebuild_sparse_tensor"),
    "module.pt": ("pt-global", "__main__.Net"),
    "script.pt": ("pt-torchscript", "TorchScript program"),
}


@pytest.mark.parametrize("file", REFUSED)
def test_what_torch_writes_beyond_plain_tensors_is_refused_by_name(file: str) -> None:
    code, message = REFUSED[file]
    with pytest.raises(HeaderError, match=message) as refused:
        opened({file: read(file)})
    assert refused.value.code == code


@pytest.mark.parametrize("file", ["kinds.pt", "kinds-legacy.pt", "trainer.pt"])
def test_a_file_cut_anywhere_is_refused(file: str) -> None:
    data = read(file)
    for length in [*range(0, 600), *range(600, len(data), 97), *range(len(data) - 30, len(data))]:
        with pytest.raises(HeaderError):
            opened({file: data[:length]})


def test_a_transpose_is_read_in_ranges_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a transpose lie a row apart: wide gaps are skipped, narrow ones read through."""
    monkeypatch.setattr(weights_module, "MAX_RANGE_BYTES", 4096)
    monkeypatch.setattr(weights_module, "MAX_GAP_BYTES", 256)
    rng = np.random.default_rng(1)
    for n_rows_stored, n_cols_stored in [(40, 500), (500, 40)]:
        matrix = rng.standard_normal((n_rows_stored, n_cols_stored)).astype(np.float32)
        view = tensor(count=matrix.size, shape=matrix.T.shape, strides=[1, n_cols_stored])
        source = CountingSource(
            BytesSource(torch_zip(pickled(mapping({"w": view})), {"0": matrix.tobytes()}))
        )
        weights = open_pytorch({"m.pt": source})
        source.n_reads = source.bytes_read = 0
        assert (weights.rows("w", 3, 7) == matrix.T[3:10]).all()
        assert source.bytes_read <= source.n_reads * 4096
        assert source.bytes_read < matrix.nbytes // 2 if n_cols_stored == 500 else True
    assert MAX_RANGE_BYTES > 4096


def test_opening_costs_a_small_read_for_each_storage_and_no_weights() -> None:
    tensors = mapping({f"w{n}": tensor(str(n), count=2**18, shape=[2**18]) for n in range(8)})
    held = {str(n): bytes(2**20) for n in range(8)}
    source = CountingSource(BytesSource(torch_zip(pickled(tensors), held)))
    assert open_pytorch({"m.pt": source}).size_bytes == 2**23
    assert source.n_reads < 8 + 12
    assert source.bytes_read < 10_000


def test_a_file_of_5_gb_is_opened_by_a_few_small_reads() -> None:
    """Sizes and offsets beyond 32 bits are in the zip64 records, as torch itself wrote them around a hole of zeros."""
    head, tail, hole = read("huge.head"), read("huge.tail"), 4_800_000_000

    def fetch(start: int, length: int) -> bytes:
        assert length < 2**20
        after = start - len(head) - hole
        return (
            tail[after : after + length] if after >= 0 else head[start : start + length].ljust(length, b"\0")
        )

    source = CountingSource(RangeSource(len(head) + hole + len(tail), fetch))
    weights = open_pytorch({"huge.pt": source})
    assert (source.n_reads, source.bytes_read) < (16, 4000)
    assert weights.entries["big"].length == hole
    assert weights.rows("small", 0, 1).tolist() == [[float(n) for n in range(10)]]
    assert weights.read_bytes("big", hole - 8, 8) == bytes(8)


def test_a_big_storage_is_read_only_where_a_tensor_is() -> None:
    count = 2**20
    view = mapping({"w": tensor(count=count, offset=1000, shape=[8], strides=[2])})
    for data in (
        torch_zip(pickled(view), {"0": np.arange(count, dtype="<f4").tobytes()}),
        torch_legacy(pickled(view), [("0", count, np.arange(count, dtype="<f4").tobytes())]),
    ):
        source = CountingSource(BytesSource(data))
        weights = open_pytorch({"m.pt": source})
        before = source.bytes_read
        assert weights.rows("w", 0, 1).tolist() == [list(range(1000, 1016, 2))]
        assert source.bytes_read - before == 15 * 4


def test_no_reader_imports_what_could_run_a_pickle() -> None:
    """pickle, marshal, torch and their kin appear in no import of conversion/formats."""
    forbidden = {
        "pickle",
        "pickletools",
        "_pickle",
        "marshal",
        "shelve",
        "torch",
        "zipfile",
        "tarfile",
        "importlib",
    }
    files = list((Path(weights_module.__file__).parents[1]).rglob("*.py"))
    assert len(files) > 20
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not forbidden & {name.split(".")[0] for name in names}, file
