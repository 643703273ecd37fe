"""One door opens every container by what is in the files, and says what it found where there is none."""

from pathlib import Path

import pytest

from conversion.formats import gguf
from conversion.formats.checkpoint import Checkpoint
from conversion.formats.errors import HeaderError
from conversion.formats.gguf.weights import GgufWeights
from conversion.formats.layout import stream_file
from conversion.formats.llama2c import Llama2cWeights
from conversion.formats.opening import open_weights
from conversion.formats.pytorch import TorchWeights
from conversion.formats.source import BytesSource, CountingSource
from tests.conversion.formats.gguf.test_reader import SMALL as GGUF
from tests.conversion.formats.gguf.test_splitting import PARTS
from tests.conversion.formats.test_checkpoint import INDEX, SHARDED
from tests.conversion.formats.test_safetensors import SMALL as SAFETENSORS

FIXTURES = Path(__file__).parents[2] / "fixtures"
ZIP = (FIXTURES / "pickles/state-dict.pt").read_bytes()
LEGACY = (FIXTURES / "pickles/kinds-legacy.pt").read_bytes()
LLAMA2C = (FIXTURES / "llama2c/tied-v0.bin").read_bytes()
TOKENIZER = b"\x07\0\0\0" + b"\0\0\0\0\1\0\0\0a" * 12
TEXTS = {"config.json": b"{}", "README.md": b"# model", "tokenizer.json": b"{}"}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"

OPENED: dict[str, tuple[type, dict[str, bytes]]] = {
    "safetensors": (Checkpoint, {"model.safetensors": SAFETENSORS}),
    "safetensors in shards": (Checkpoint, SHARDED),
    "safetensors of any name": (Checkpoint, {"weights": SAFETENSORS}),
    "GGUF": (GgufWeights, {"model-Q8_0.gguf": GGUF}),
    "GGUF in parts": (GgufWeights, PARTS),
    "GGUF of any name": (GgufWeights, {"model.bin": GGUF}),
    "PyTorch": (TorchWeights, {"pytorch_model.bin": ZIP}),
    "PyTorch, legacy": (TorchWeights, {"model.pth": LEGACY}),
    "PyTorch of any name": (TorchWeights, {"consolidated": ZIP}),
    "PyTorch beside a trainer's state": (TorchWeights, {"pytorch_model.bin": ZIP, "optimizer.pt": ZIP}),
    "llama2.c": (Llama2cWeights, {"stories.bin": LLAMA2C}),
    "llama2.c with its tokenizer": (Llama2cWeights, {"stories.bin": LLAMA2C, "tokenizer.bin": TOKENIZER}),
    "safetensors before all others": (
        Checkpoint,
        {"a.gguf": GGUF, "pytorch_model.bin": ZIP, "model.safetensors": SAFETENSORS},
    ),
    "GGUF before PyTorch": (GgufWeights, {"pytorch_model.bin": ZIP, "a.gguf": GGUF}),
    "PyTorch before llama2.c": (TorchWeights, {"pytorch_model.bin": ZIP, "stories.bin": LLAMA2C}),
    "this folder, not one within": (GgufWeights, {"a.gguf": GGUF, "original/model.safetensors": SAFETENSORS}),
}


def sources(files: dict[str, bytes]) -> dict[str, BytesSource]:
    return {path: BytesSource(data) for path, data in (TEXTS | files).items()}


@pytest.mark.parametrize("name", OPENED)
def test_the_container_is_recognised(name: str) -> None:
    kind, files = OPENED[name]
    weights = open_weights(sources(files))
    assert type(weights) is kind
    for entry in weights.entries.values():
        n_rows = entry.n_elements // max(1, entry.shape[-1]) if entry.shape else 1
        assert len(weights.read_rows(entry.name, 0, n_rows)) == entry.length


REFUSED: dict[str, tuple[str, str, dict[str, bytes]]] = {
    "nothing": ("ck-empty", r"'README\.md' \(7 bytes\), 'config\.json'", {}),
    "a Git LFS pointer": ("ck-empty", "a Git LFS pointer", {"model.safetensors": POINTER}),
    "a pointer under a name of PyTorch": ("ck-empty", "a Git LFS pointer", {"pytorch_model.bin": POINTER}),
    "a page of HTML": ("ck-empty", "an HTML page", {"model.gguf": b"<!DOCTYPE html>"}),
    "an index without any of its shards": ("ck-shard-missing", "2 of 2 shards", {INDEX: SHARDED[INDEX]}),
    "an index of PyTorch without its shards": (
        "ck-shard-missing",
        "1 of 1 shards",
        {"pytorch_model.bin.index.json": b'{"weight_map":{"a":"pytorch_model-00001-of-00001.bin"}}'},
    ),
    "a broken PyTorch file": ("pt-magic", "neither a zip nor a pickle", {"pytorch_model.bin": b"?" * 100}),
    "a broken GGUF": ("gguf-magic", "not with", {"model.gguf": b"?" * 100}),
    "a broken safetensors": ("st-header-large", "model.safetensors", {"model.safetensors": b"?" * 100}),
    "an empty safetensors": ("st-truncated", "model.safetensors", {"model.safetensors": b""}),
    "two models": ("ck-ambiguous", "different models", {"a.gguf": GGUF, "b.gguf": GGUF}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_without_weights_is_refused_with_what_was_found(name: str) -> None:
    code, message, files = REFUSED[name]
    with pytest.raises(HeaderError, match=message) as refused:
        open_weights(sources(files))
    assert refused.value.code == code


def test_an_empty_folder_is_called_that() -> None:
    with pytest.raises(HeaderError, match="the folder is empty"):
        open_weights({})


def test_of_many_shards_one_is_looked_at_before_they_are_read() -> None:
    counted = {path: CountingSource(source) for path, source in sources(SHARDED).items()}
    open_weights(counted)
    assert (
        sum(source.n_reads for source in counted.values()) == 1 + 1 + 2 * 2
    )  # a look, the index, two headers


def test_every_container_gives_rows_as_float32() -> None:
    layout = gguf.plan_file({}, [("w", [2, 4], "F32")])
    data = b"".join(stream_file(layout, [("w", [bytes(range(32))])]))
    for files in ({"m.gguf": data}, {"m.safetensors": SAFETENSORS}, {"m.pt": ZIP}, {"m.bin": LLAMA2C}):
        weights = open_weights(sources(files))
        for name, entry in weights.entries.items():
            if entry.n_elements == 0:
                continue
            rows = weights.rows(name, 0, 1)
            assert rows.dtype == "float32"
            assert rows.shape[1] == (entry.shape[-1] if entry.shape else 1)
