"""An importance matrix holds what flowed into each weight: compared with a forward step of our own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.gguf import read_header
from conversion.formats.source import FileSource
from conversion.inference.engine import EngineError
from conversion.inference.importance import ImportanceMatrix, measure_importance, write_importance
from conversion.inference.sandbox import Sandbox
from tests.conversion.inference.conftest import Converted
from tests.conversion.inference.ggufs import BASE

TEXT = "And Abraham buried Sarah in the cave of the field of Machpelah before Mamre. " * 60


@pytest.fixture(scope="module")
def measured(converted: Converted) -> ImportanceMatrix:
    return measure_importance(converted("F32"), TEXT, "sarah.txt", max_windows=2)


def test_every_weight_of_every_layer_is_there(measured: ImportanceMatrix) -> None:
    kinds = ("attn_k", "attn_output", "attn_q", "attn_v", "ffn_down", "ffn_gate", "ffn_up")
    n_layers = len(measured.sums) // len(kinds)
    assert set(measured.sums) == {f"blk.{n}.{kind}.weight" for n in range(n_layers) for kind in kinds}
    assert set(map(tuple, measured.counts.values())) == {(measured.n_windows * measured.window_tokens,)}


def test_the_first_layer_saw_the_normalised_embeddings(
    converted: Converted, measured: ImportanceMatrix
) -> None:
    with FileSource(BASE / "model.safetensors") as source:
        checkpoint = open_checkpoint({"model.safetensors": source})
        embeddings = _floats(checkpoint.read_tensor("model.embed_tokens.weight")).reshape(-1, 256)
        norm = _floats(checkpoint.read_tensor("model.layers.0.input_layernorm.weight"))
    with Sandbox("llama.cpp", converted("F32")) as engine:
        ids = engine.tokenize(TEXT, special=False)
        size, bos = measured.window_tokens, engine.facts.bos_id
    assert bos is not None
    read = [bos, *ids[: size - 1], bos, *ids[size - 1 : 2 * (size - 1)]]
    rows = embeddings[read].astype(np.float64)
    rows *= norm / np.sqrt((rows**2).mean(axis=1, keepdims=True) + 1e-5)
    expected = (rows**2).sum(axis=0)
    np.testing.assert_allclose(measured.sums["blk.0.attn_q.weight"][0], expected, rtol=1e-3)
    np.testing.assert_array_equal(measured.sums["blk.0.attn_q.weight"], measured.sums["blk.0.attn_v.weight"])


def test_the_file_is_an_imatrix_gguf_and_equal_every_time(measured: ImportanceMatrix, tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        write_importance(measured, tmp_path / name)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    with FileSource(tmp_path / "a.gguf") as source:
        header = read_header(source)
    assert header.metadata["general.type"].preview == "imatrix"
    shapes = {entry.name: entry.shape for entry in header.entries}
    assert shapes["blk.0.ffn_down.weight.in_sum2"] == (1, 512)
    assert shapes["blk.0.ffn_down.weight.counts"] == (1, 1)


def test_a_text_of_less_than_a_window_is_refused(converted: Converted) -> None:
    with pytest.raises(EngineError, match="add text") as refused:
        measure_importance(converted("F32"), "Too short.", "short.txt")
    assert refused.value.code == "text-too-short"


def test_the_command_writes_the_file_or_says_why_not(converted: Converted, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    command = [sys.executable, "-m", "conversion.inference.importance"]
    out = tmp_path / "out.gguf"
    done = _run(*command, converted("F32"), tmp_path / "text.txt", out, "--windows", "1", "--threads", "1")
    assert (done.returncode, out.exists()) == (0, True)
    assert "over 1 windows" in done.stdout
    refused = _run(*command, tmp_path / "text.txt", tmp_path / "text.txt", tmp_path / "none.gguf")
    assert (refused.returncode, (tmp_path / "none.gguf").exists()) == (1, False)
    assert "llama.cpp refused to load it" in refused.stderr


def _floats(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<f4")


def _run(*command: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=120)
