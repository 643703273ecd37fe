"""llama.cpp as llama-cpp-python builds it: the library with `llama_model_quantize`, and the reference converter.

Both come from its source distribution on PyPI, built by pip into a virtual environment of its own under the user's
cache folder (`HOLDFAST_BENCH_PEERS` names another). That takes some minutes and a C++ compiler, once, and is done only
by `--build-peers`; a benchmark says which peer it ran against.
"""

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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
    if not (at / "venv").exists():
        venv.create(at / "venv", with_pip=True)
    pip = [str(at / "venv" / "bin" / "pip"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", LLAMA_CPP_PYTHON, *FOR_THE_CONVERTER], check=True)
    if not (at / "src").exists():
        fetch = ["download", "--no-deps", "--no-binary", ":all:", "--dest", str(at), LLAMA_CPP_PYTHON]
        subprocess.run([*pip, *fetch], check=True)
        archive = next(at.glob("llama_cpp_python-*.tar.gz"))
        (at / "src").mkdir()
        subprocess.run(["tar", "xzf", str(archive), "-C", str(at / "src")], check=True)


def run_process(command: list[str], **env: str) -> Measured:
    """One whole process; RuntimeError with what it said if it fails."""
    import time

    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=Path(__file__).resolve().parent.parent, env={**os.environ, **env},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{said.decode(errors='replace')[-2000:]}")
    return Measured(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)


def holdfast(*arguments: str) -> list[str]:
    """Our command line."""
    return [sys.executable, "-m", "conversion", *arguments, "--quiet"]
