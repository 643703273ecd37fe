"""`holdfast run` hands a pulled model to a program that stands in for llama.cpp or vLLM."""

import os
from pathlib import Path

import pytest

from tests.client.running import Home

PROGRAM = '#!/bin/sh\nprintf "%s|" "$0" "$@"\nexit 7\n'


@pytest.fixture
def programs(home: Home) -> Path:
    """A folder of programs that comes first, with a llama-cli that tells how it was called."""
    folder = home.folder / "bin"
    folder.mkdir()
    home.env["PATH"] = f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"
    install(folder, "llama-cli")
    return folder


def install(folder: Path, name: str) -> None:
    (folder / name).write_text(PROGRAM)
    (folder / name).chmod(0o755)


def test_a_gguf_goes_to_llama_cli_with_the_prompt_and_its_exit_code_is_ours(
    home: Home, programs: Path, quants: str
) -> None:
    result = home.run("run", "org/quants-GGUF:Q8_0", "Hello; $(rm -rf /)", "--args=--temp 0")
    path = home.ok("pull", "org/quants-GGUF:Q8_0", "--offline").path
    assert result.code == 7
    assert result.stdout.rstrip("|").split("|") == [
        str(programs / "llama-cli"), "-m", str(path), "-p", "Hello; $(rm -rf /)", "--temp", "0",
    ]  # fmt: skip


def test_a_dry_run_prints_the_command(home: Home, programs: Path, quants: str) -> None:
    told = home.ok("run", "org/quants-GGUF:Q8_0", "--json").json
    assert told["command"][0] == str(programs / "llama-cli")
    assert "llama-cli -m " in home.ok("run", "org/quants-GGUF:Q8_0", "--dry-run").stdout


def test_safetensors_go_to_vllm(home: Home, programs: Path, model: str) -> None:
    error = home.fails("program_missing", "run", "org/model")
    assert "uv tool install vllm" in error["hint"]
    install(programs, "vllm")
    result = home.run("run", "org/model")
    assert result.stdout.split("|")[1:3] == ["serve", str(home.ok("pull", "org/model", "--offline").path)]
    home.fails("usage", "run", "org/model", "a prompt", exit_code=2)


def test_without_a_program_nothing_is_pulled(home: Home, programs: Path, quants: str) -> None:
    (programs / "llama-cli").unlink()
    error = home.fails("program_missing", "run", "org/quants-GGUF:Q8_0")
    assert "github.com/ggml-org/llama.cpp" in error["hint"]
    assert home.blobs() == {}
