"""Hand a pulled model to a program that runs it. None is bundled, and nothing of the model is executed by us."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from holdfast.errors import ProgramMissing, UsageError
from holdfast.text import printable


@dataclass(frozen=True)
class Program:
    """How one program is started, and how one comes by it."""

    name: str
    takes_gguf: bool
    command: Callable[[Path, str | None], list[str]]
    install: str


def _llama_cli(path: Path, prompt: str | None) -> list[str]:
    return ["-m", str(path)] + ([] if prompt is None else ["-p", prompt])


def _llama_server(path: Path, prompt: str | None) -> list[str]:
    return ["-m", str(path), *_no_prompt(prompt, "llama-server")]


def _vllm(path: Path, prompt: str | None) -> list[str]:
    return ["serve", str(path), *_no_prompt(prompt, "vllm")]


def _no_prompt(prompt: str | None, name: str) -> list[str]:
    if prompt is not None:
        raise UsageError(f"{name} serves a model and takes no prompt", hint="leave the prompt out")
    return []


_LLAMA_CPP = "https://github.com/ggml-org/llama.cpp, or brew install llama.cpp"
PROGRAMS = {
    program.name: program
    for program in (
        Program("llama-cli", True, _llama_cli, _LLAMA_CPP),
        Program("llama-server", True, _llama_server, _LLAMA_CPP),
        Program("vllm", False, _vllm, "uv tool install vllm, see https://docs.vllm.ai"),
    )
}  # fmt: skip


def find_program(wanted: str | None) -> list[tuple[Program, str]]:
    """The programs that are here, each with its path. Raises ProgramMissing if the wanted one is not, or none is."""
    names = list(PROGRAMS) if wanted is None else [wanted]
    found = [(PROGRAMS[name], path) for name in names if (path := shutil.which(name)) is not None]
    if not found:
        what = "llama.cpp (for GGUF) and vLLM (for safetensors)" if wanted is None else wanted
        raise ProgramMissing(
            f"no program here runs models: looked for {', '.join(names)}",
            hint=f"Install {what}: {'; '.join(dict.fromkeys(PROGRAMS[name].install for name in names))}",
            programs=names,
        )
    return found


def command_for(found: Sequence[tuple[Program, str]], path: Path, prompt: str | None, more: str) -> list[str]:
    """The command line that runs what lies at the path. Raises ProgramMissing if none of the programs can."""
    is_gguf = path.suffix.lower() == ".gguf"
    fitting = [(program, place) for program, place in found if program.takes_gguf == is_gguf]
    if not fitting:
        kind = "a GGUF file" if is_gguf else "a folder of weights"
        others = [program for program in PROGRAMS.values() if program.takes_gguf == is_gguf]
        raise ProgramMissing(
            f"{printable(path)} is {kind}, and {found[0][0].name} does not run that",
            hint=f"Install {others[0].name}: {others[0].install}. What was pulled is kept.",
            programs=[program.name for program in others],
        )
    program, place = fitting[0]
    return [place, *program.command(path, prompt), *shlex.split(more)]


def hand_over(command: list[str]) -> int:
    """The program takes our place; where the system has no such thing, its exit code is ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execv(command[0], command)
    return subprocess.call(command)
