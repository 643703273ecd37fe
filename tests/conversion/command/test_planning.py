"""What one source becomes: checkpoints with the files that belong to them, GGUFs in parts."""

import json
from pathlib import Path

import numpy as np
import pytest

from conversion.command.arguments import FAILED, MADE
from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.gguf import read_header
from conversion.formats.safetensors import read_header as read_safetensors
from conversion.formats.source import BytesSource, FileSource
from conversion.naming.to_safetensors import DEQUANTISED_FROM, TENSOR_NAMES
from conversion.quants import dequantize, quantize
from tests.conversion.command.test_command import ROOT, listed, run
from tests.conversion.formats.gguf import gguf_split
from tests.conversion.naming.models import SAMPLES, open_folder
from tests.fixtures.architectures.fixture import Fixture
from tests.fixtures.converted.record import describe
from tests.fixtures.requantised.models import MODELS


def test_a_gguf_becomes_safetensors_that_say_what_was_dequantised(dense: Path, tmp_path: Path) -> None:
    assert run(dense, tmp_path / "q.gguf", "--to", "Q8_0") == MADE
    assert run(tmp_path / "q.gguf", tmp_path / "plain", "--to", "safetensors-f16") == MADE
    made = open_checkpoint({"model.safetensors": FileSource(tmp_path / "plain" / "model.safetensors")})
    assert made.metadata == {DEQUANTISED_FROM: "Q8_0", "format": "pt", TENSOR_NAMES: "gguf"}
    assert {entry.dtype for entry in made.entries.values()} == {"F16"}
    with FileSource(tmp_path / "q.gguf") as source:
        entry = next(one for one in read_header(source).entries if one.name == "blk.3.ffn_up.weight")
        rows = dequantize(np.frombuffer(source.read(entry.start, entry.length), np.uint8), "Q8_0", 256)
    assert made.read_tensor(entry.name) == quantize(rows, "F16").tobytes()


def test_a_gguf_of_a_known_architecture_becomes_a_checkpoint_again(checkpoint: Path, tmp_path: Path) -> None:
    assert run(checkpoint, tmp_path / "tiny.gguf", "--to", "F32") == MADE
    out = tmp_path / "out"
    assert run(tmp_path / "tiny.gguf", out, "--to", "safetensors-bf16") == MADE
    assert listed(out) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    ]  # fmt: skip
    before, after = open_folder(checkpoint), open_folder(out)
    assert after.metadata == {"format": "pt", TENSOR_NAMES: "transformers"}
    assert before.entries.keys() == after.entries.keys()
    assert all(before.read_tensor(name) == after.read_tensor(name) for name in before.entries)
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert run(out, tmp_path / "again.gguf", "--to", "Q8_0") == MADE


def test_names_are_kept_where_that_is_asked_or_cannot_be_otherwise(
    checkpoint: Path, dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(checkpoint, tmp_path / "tiny.gguf", "--to", "F32") == MADE
    for source, said in ((tmp_path / "tiny.gguf", ""), (dense, "tensor-not-restored: ")):
        capsys.readouterr()
        out = tmp_path / f"out-{source.stem}"
        asked = ["--keep-names"] if not said else []
        assert run(source, out, "--to", "safetensors", *asked) == MADE
        assert listed(out) == ["model.safetensors"]
        assert "token_embd.weight" in open_folder(out).entries
        assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    ("asked", "limit"),
    [("--split-max-tensors 7", {"max_tensors": 7}), ("--split-max-size 1M", {"max_bytes": 10**6})],
)
def test_a_split_gguf_has_the_bytes_of_llama_gguf_split(
    tmp_path: Path, asked: str, limit: dict[str, int]
) -> None:
    source = SAMPLES / "base-bf16"
    assert run(source, tmp_path / "whole.gguf", "--to", "Q8_0") == MADE
    parts = gguf_split.split(tmp_path / "whole.gguf", **limit)
    assert run(source, tmp_path / "out", "--to", "Q8_0", *asked.split()) == MADE
    names = [f"base-bf16-Q8_0-{n + 1:05}-of-{len(parts):05}.gguf" for n in range(len(parts))]
    assert listed(tmp_path / "out") == names
    assert len(names) > 2
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == parts
    assert run(tmp_path / "out" / names[0], tmp_path / "one.gguf", "--to", "Q8_0") == MADE
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_packed_and_unpacked_weights_are_not_mixed_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """GPT-OSS goes into a GGUF as it is packed, and into safetensors unpacked: one pass cannot read it both ways."""
    source = Fixture("gpt-oss-tiny").write(tmp_path)
    assert run(source, tmp_path / "out", "--to", "F16,safetensors-f32") == FAILED
    assert capsys.readouterr().err.startswith("other-reading: ")
    assert run(source, tmp_path / "plain", "--to", "safetensors-f32") == MADE
    assert open_folder(tmp_path / "plain").metadata[DEQUANTISED_FROM] == "mxfp4"
    assert "quantization_config" not in json.loads((tmp_path / "plain/config.json").read_text())


def test_a_llama2c_checkpoint_becomes_a_folder_that_is_complete(tmp_path: Path) -> None:
    stories = ROOT / "tests/fixtures/llama2c/stories260K.bin"
    assert run(stories, tmp_path / "stories", "--to", "safetensors") == MADE
    assert listed(tmp_path / "stories") == ["config.json", "model.safetensors", "tokenizer.model"]
    assert run(stories, tmp_path / "one.gguf", "--to", "F16") == MADE
    assert run(tmp_path / "stories", tmp_path / "two.gguf", "--to", "F16") == MADE
    one, two = (describe(BytesSource((tmp_path / name).read_bytes())) for name in ("one.gguf", "two.gguf"))
    assert one["tensors"] == two["tensors"]


def test_a_first_part_may_have_metadata_alone(dense: Path, tmp_path: Path) -> None:
    asked = ["--split-max-size", "2G", "--no-tensor-first-split"]
    assert run(dense, tmp_path / "named.gguf", "--to", "F16", *asked) == MADE
    first, second = (tmp_path / f"named-0000{n}-of-00002.gguf" for n in (1, 2))
    n_tensors = [len(read_header(BytesSource(path.read_bytes())).entries) for path in (first, second)]
    assert n_tensors == [0, len(MODELS["dense"].shapes())]


@pytest.mark.parametrize("asked", ["--split-max-size 2", "--split-max-size 0G", "--split-max-tensors -1",
                                   "--no-tensor-first-split", "--split-max-size 1G --split-max-tensors 2"])  # fmt: skip
def test_a_split_that_is_none_is_a_wrong_command_line(dense: Path, tmp_path: Path, asked: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(dense, tmp_path / "out", "--to", "Q8_0", *asked.split())


def test_safetensors_of_another_dtype_come_in_shards_with_all_that_a_loader_needs(
    checkpoint: Path, tmp_path: Path
) -> None:
    settings = json.loads((checkpoint / "config.json").read_text()) | {"torch_dtype": "bfloat16"}
    (checkpoint / "config.json").write_text(json.dumps(settings))
    out = tmp_path / "out"
    assert run(checkpoint, out, "--to", "safetensors-f32", "--max-shard-bytes", 300_000) == MADE
    assert {"config.json", "model.safetensors.index.json", "tokenizer.model"} <= set(listed(out))
    assert json.loads((out / "config.json").read_text()) == settings | {"torch_dtype": "float32"}
    before, after = open_folder(checkpoint), open_folder(out)
    assert len(after.paths) > 1
    for name, entry in before.entries.items():
        rows = entry.n_elements // entry.shape[-1]
        assert after.read_tensor(name) == before.rows(name, 0, rows).tobytes()
    assert run(checkpoint, tmp_path / "same.safetensors", "--to", "safetensors") == MADE
    with FileSource(tmp_path / "same.safetensors") as source:
        assert {entry.dtype for entry in read_safetensors(source).entries} == {"BF16"}
