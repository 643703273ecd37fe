"""llama.cpp as llama-cpp-python builds it: the library with `llama_model_quantize`, and the reference converter.

Both come from its source distribution on PyPI, built by pip into a virtual environment of its own under the user's
cache folder (`HOLDFAST_BENCH_PEERS` names another). That takes some minutes and a C++ compiler, once, and is done only
by `--build-peers`, which may be run again after it was interrupted; a benchmark says which peer it ran against. Where
pip looks is its own affair: a torch for CPUs, from an index that has one, is enough.
"""

import os
import shutil
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from conversion.command.writing import flush

LLAMA_CPP_PYTHON = "llama-cpp-python==0.3.36"
FOR_THE_CONVERTER = ("torch==2.13.0", "transformers==5.23.0", "gguf==0.19.0", "sentencepiece", "protobuf")


class Measured(NamedTuple):
    """Wall seconds, the process's CPU seconds, and its peak memory in MB."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Peers:
    """`library` is libllama.so, `converter` convert_hf_to_gguf.py, `python` the interpreter that can run it."""

    library: Path | None
    converter: Path | None
    python: Path

    @property
    def version(self) -> str:
        return LLAMA_CPP_PYTHON.replace("==", " ")


def folder() -> Path:
    """Where the peers live."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("HOLDFAST_BENCH_PEERS") or cache / "holdfast" / "peers")


def find_peers(*, build: bool = False) -> Peers:
    """What is there; with `build`, everything is there afterwards."""
    if build:
        _build()
    at = folder()
    library = next(iter(sorted(at.glob("venv/lib/python3*/site-packages/llama_cpp/lib/libllama.so"))), None)
    converter = next(iter(sorted(at.glob("src/**/llama.cpp/convert_hf_to_gguf.py"))), None)
    return Peers(library, converter, at / "venv" / "bin" / "python")


def _build() -> None:
    at = folder()
    at.mkdir(parents=True, exist_ok=True)
    if not (at / "venv" / "bin" / "pip").exists():
        venv.create(at / "venv", with_pip=True)
    pip = [str(at / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    archive = next(at.glob("llama_cpp_python-*.tar.gz"), None)
    if archive is None:
        fetch = [
            "download",
            "--no-deps",
            "--no-binary",
            "llama-cpp-python",
            "--dest",
            str(at),
            LLAMA_CPP_PYTHON,
        ]
        subprocess.run([*pip, *fetch], check=True)
        archive = next(at.glob("llama_cpp_python-*.tar.gz"))
    if not (at / "src").exists():
        partial = at / "src.partial"
        shutil.unpack_archive(archive, partial, filter="data")
        partial.rename(at / "src")
    subprocess.run([*pip, "install", str(archive), *FOR_THE_CONVERTER], check=True)


def run_process(command: list[str], target: Path | None = None, **env: str) -> Measured:
    """One whole process, until `target` (if any) is on the disk; RuntimeError with what it said if it fails.

    Ours gives a file its name when it is on the disk; a peer leaves that for later, so it is waited for here.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=Path(__file__).resolve().parent.parent, env={**_environment(), **env},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{said.decode(errors='replace')[-2000:]}")
    if target is not None:
        flush(target)
    return Measured(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)


def _environment() -> dict[str, str]:
    """As an installed program has it, whose bytecode is kept."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def holdfast(*arguments: str) -> list[str]:
    """Our command line."""
    return [sys.executable, "-m", "conversion", *arguments, "--quiet"]
