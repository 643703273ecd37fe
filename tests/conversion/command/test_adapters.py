"""LoRA on the command line: a GGUF adapter of its own, or merged into the base, also into one that is written again."""

import hashlib
import json
from pathlib import Path

import pytest

from conversion.command import main
from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.source import FileSource
from tests.conversion.inference.ggufs import SAMPLES

ADAPTER, BASE = SAMPLES / "lora-jargon-adapter", SAMPLES / "base-bf16"
REFERENCE = json.loads((Path(__file__).parents[2] / "fixtures/lora/reference.json").read_text())
NAME = "model.layers.0.self_attn.q_proj.weight"


def run(*arguments: object) -> int:
    return main([*map(str, arguments), "--quiet"])


def test_an_adapter_becomes_the_reference_s_gguf(tmp_path: Path) -> None:
    assert run(ADAPTER, tmp_path, "--to", "F32,F16,Q8_0", "--base", BASE) == 0
    made = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert made == {f"lora-jargon-adapter-{kind}.gguf": digest for kind, digest in REFERENCE.items()}


def test_an_adapter_is_merged_into_what_is_made_of_its_base(tmp_path: Path) -> None:
    assert run(BASE, tmp_path / "merged", "--to", "safetensors-f32", "--adapter", ADAPTER) == 0
    assert run(BASE, tmp_path / "merged.gguf", "--to", "Q8_0", "--adapter", ADAPTER) == 0
    with (
        FileSource(BASE / "model.safetensors") as one,
        FileSource(tmp_path / "merged/model.safetensors") as two,
    ):
        base, merged = (open_checkpoint({"model.safetensors": source}) for source in (one, two))
        assert set(merged.entries) == set(base.entries)
        assert (merged.rows(NAME, 0, 256) != base.rows(NAME, 0, 256)).mean() > 0.9
        other = NAME.replace("q_proj", "k_proj")
        assert (merged.rows(other, 0, 128) == base.rows(other, 0, 128)).all()
    # The merged checkpoint, converted in a second step, is the same file: nothing depends on the way it was made.
    assert run(tmp_path / "merged", tmp_path / "again.gguf", "--to", "Q8_0") == 0
    sizes = [(tmp_path / name).stat().st_size for name in ("merged.gguf", "again.gguf")]
    tail = min(sizes) - 100_000
    assert (tmp_path / "merged.gguf").read_bytes()[-tail:] == (tmp_path / "again.gguf").read_bytes()[-tail:]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((ADAPTER, "out.gguf", "--to", "F16"), "adapter-base"),
        ((ADAPTER, "out.gguf", "--to", "Q4_K_M", "--base", BASE), "adapter-type"),
        ((BASE, "out.gguf", "--to", "F16", "--adapter", BASE), "lora-missing"),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
