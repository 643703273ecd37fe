"""The stand-alone command line, as a person runs it: real files in, real files out, or nothing at all."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import pytest

from conversion.command import main
from conversion.command.arguments import FAILED, INTERRUPTED, MADE
from conversion.formats.gguf import plan_file, read_header
from conversion.formats.source import BytesSource
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import in_reference_order, plan_gguf
from conversion.naming.slabs import file_pieces
from tests.conversion.naming.models import open_folder
from tests.fixtures.requantised.models import MODELS, gguf_imatrix, importance

ROOT = Path(__file__).parents[3]


@pytest.fixture
def sources(dense: Path, checkpoint: Path) -> Path:
    """The folder of both."""
    assert dense.parent == checkpoint.parent
    return dense.parent


def run(*arguments: object) -> int:
    return main([*map(str, arguments), "--quiet"])


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def by_the_planner(folder: Path, kind: str) -> bytes:
    weights = open_folder(folder)
    plan = plan_gguf(in_reference_order(weights), folder, FILE_TYPES[kind])
    return b"".join(piece.data for piece in file_pieces(plan, weights))


@pytest.mark.parametrize("threads", [1, 3])
def test_several_files_are_made_in_one_pass_as_each_would_be_alone(
    checkpoint: Path, tmp_path: Path, threads: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(checkpoint, out, "--to", "Q8_0,q4_0,F16", "--threads", threads) == MADE
    assert listed(out) == ["tiny-F16.gguf", "tiny-Q4_0.gguf", "tiny-Q8_0.gguf"]
    for kind in ("Q8_0", "Q4_0", "F16"):
        assert (out / f"tiny-{kind}.gguf").read_bytes() == by_the_planner(checkpoint, kind)
    shown = capsys.readouterr()
    assert shown.out.count("made ") == 3
    assert shown.err == ""


def test_a_gguf_becomes_another_under_the_name_that_is_given(dense: Path, tmp_path: Path) -> None:
    assert run(dense, tmp_path / "small.gguf", "--to", "Q8_0") == MADE
    assert run(dense, tmp_path, "--to", "Q8_0") == MADE
    assert (tmp_path / "dense-Q8_0.gguf").read_bytes() == (tmp_path / "small.gguf").read_bytes()


def test_every_file_is_on_the_disk_before_it_has_its_name(checkpoint: Path, tmp_path: Path) -> None:
    calls: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call" and argument in (os.fsync, os.replace):
            calls.append(argument.__name__)

    sys.setprofile(note)
    try:
        assert run(checkpoint, tmp_path / "out", "--to", "Q8_0,F16") == MADE
    finally:
        sys.setprofile(None)
    assert calls == ["fsync", "fsync", "replace", "replace", "fsync"], "two files, then the folder's names"


def test_a_dry_run_shows_every_tensor_and_makes_nothing(
    dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(dense, out, "--to", "Q8_0,IQ2_XXS", "--dry-run", "--json") == MADE
    eight, two = json.loads(capsys.readouterr().out)
    assert eight["type"] == "Q8_0"
    assert sum(eight["tensor_types"].values()) == len(eight["tensors"]) == len(MODELS["dense"].shapes())
    assert two["needs_imatrix"] == {"tensor": "blk.0.attn_k.weight", "type": "IQ2_XXS"}
    assert run(dense, out, "--to", "IQ2_XXS", "--dry-run") == MADE
    shown = capsys.readouterr().out
    assert "blk.0.attn_k.weight" in shown
    assert "needs an importance matrix" in shown
    assert not out.exists()


def test_the_size_that_a_dry_run_shows_is_the_size_that_is_made(
    dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(dense, tmp_path / "a.gguf", "--to", "Q4_0", "--dry-run", "--json")
    run(dense, tmp_path / "a.gguf", "--to", "Q4_0")
    (shown,) = json.loads(capsys.readouterr().out.partition("made ")[0])
    assert (tmp_path / "a.gguf").stat().st_size == shown["size_bytes"] == shown["files"][0]["size_bytes"]


def test_an_imatrix_and_demands_reach_the_file(dense: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.gguf"
    path.write_bytes(gguf_imatrix(importance(MODELS["dense"]), 3))
    demands = ["--imatrix", path, "--tensor-type", "attn_q=Q5_0", "--token-embedding-type", "f16"]
    assert run(dense, tmp_path / "a.gguf", "--to", "Q4_0", *demands, "--leave-output-tensor") == MADE
    header = read_header(BytesSource((tmp_path / "a.gguf").read_bytes()))
    types = {entry.name: entry.dtype for entry in header.entries}
    assert header.get("quantize.imatrix.file") == str(path)[:127]
    assert (types["token_embd.weight"], types["output.weight"]) == ("F16", "BF16")
    assert (types["blk.0.attn_q.weight"], types["blk.0.ffn_down.weight"]) == ("Q5_0", "Q4_1")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nowhere", "out", "--to", "Q8_0"], "ck-missing"),
        (["tiny", "out", "--to", "Q9_9"], "unknown-file-type"),
        (["dense-BF16.gguf", "out", "--to", "IQ1_S"], "imatrix-required"),
        (["dense-BF16.gguf", "out", "--to", "Q4_0", "--tensor-type", "(a+)+=Q8_0"], "bad-pattern"),
        (["dense-BF16.gguf", "dense-BF16.gguf", "--to", "Q8_0"], "target-exists"),
        (["tiny/config.json", "out", "--to", "Q8_0"], "ck-empty"),
        (["dense-BF16.gguf", "out", "--to", "Q8_0", "--imatrix", "tiny/config.json"], "im-entry-count"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_code_and_leaves_nothing(
    sources: Path, arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"nowhere", "out", "tiny", "tiny/config.json", "dense-BF16.gguf"}
    assert run(*[sources / part if part in paths else part for part in arguments]) == FAILED
    assert capsys.readouterr().err.startswith(f"{code}: ")
    assert listed(sources / "out") == []


def test_a_reader_that_has_seen_enough_is_no_error(dense: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m conversion {dense} {tmp_path / 'out'} --to Q8_0 --dry-run | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_weights_that_are_refused_half_way_leave_no_file(checkpoint: Path, tmp_path: Path) -> None:
    path = checkpoint / "model.safetensors"
    data = bytearray(path.read_bytes())
    entry = open_folder(checkpoint).entries["model.layers.1.mlp.up_proj.weight"]
    data[entry.start : entry.start + 2] = b"\xc0\x7f"  # NaN
    path.write_bytes(data)
    assert run(checkpoint, tmp_path / "out", "--to", "Q8_0,F16") == FAILED
    assert listed(tmp_path / "out") == []


def test_an_interrupted_run_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    """Half a gigabyte of zeros that take no room on disk, searched by numpy: that would take a minute."""
    layout = plan_file(MODELS["dense"].metadata(), [("blk.0.attn_q.weight", (1 << 19, 512), "BF16")])
    with (tmp_path / "large.gguf").open("wb") as file:
        file.write(layout.header_bytes)
        file.truncate(layout.size_bytes)
    command = [sys.executable, "-m", "conversion", str(tmp_path / "large.gguf"), str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--to", "Q6_K"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "HOLDFAST_KERNELS": "numpy"},
    )  # fmt: skip
    until = time.monotonic() + 60
    while not any(name.endswith(".partial") for name in listed(tmp_path / "out")):
        assert process.poll() is None
        assert time.monotonic() < until
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert said == "interrupted; nothing was left\n"
    assert listed(tmp_path / "out") == []


def test_it_starts_quickly_and_without_django(dense: Path, tmp_path: Path) -> None:
    """CPU seconds of a whole small run; the promise is 0.6, twice that leaves room for a slow machine."""
    code = (
        "import sys; from conversion.command import main; status = main(sys.argv[1:])\n"
        "assert not {'django', 'gguf', 'torch', 'transformers'} & sys.modules.keys(); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, str(dense), str(tmp_path / "a.gguf"), "--to", "Q8_0", "--quiet"]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "HOLDFAST_KERNELS": "numpy"})
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == MADE
    assert used.ru_utime + used.ru_stime < 1.2, f"{time.monotonic() - started:.1f} s of wall time"
