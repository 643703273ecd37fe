"""The real command line in a real process, against a real hub on loopback, with a home of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "client" / "src"
COMMAND = [sys.executable, "-m", "holdfast"]


@dataclass(frozen=True)
class Result:
    """What one command line did."""

    code: int
    stdout: str
    stderr: str

    @property
    def path(self) -> Path:
        """The last line on stdout."""
        return Path(self.stdout.splitlines()[-1])

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.stdout)
        assert isinstance(found, dict)
        return found


@dataclass
class Home:
    """A person's machine: a cache, an index, no token, nothing inherited."""

    folder: Path
    index_url: str
    env: dict[str, str] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        return self.folder / "hub"

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
        return {
            **kept, "PYTHONPATH": str(SOURCE), "HOME": str(self.folder), "HF_HOME": str(self.folder),
            "HOLDFAST_INDEX_URL": self.index_url, "COLUMNS": "80", "PYTHONWARNINGS": "error", "NO_PROXY": "*",
            **self.env,
        }  # fmt: skip

    def run(self, *arguments: str, **env: str) -> Result:
        """Runs to its end, at most two minutes."""
        done = subprocess.run(
            [*COMMAND, *arguments], env={**self.environment(), **env}, capture_output=True, text=True, check=False,
            timeout=120, cwd=self.folder, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, **env: str) -> Result:
        """Runs and must succeed."""
        result = self.run(*arguments, **env)
        assert result.code == 0, result.stderr
        return result

    def fails(self, code: str, *arguments: str, exit_code: int = 1, **env: str) -> dict[str, Any]:
        """Runs under --json and must fail with this code; the error object. A person reads no traceback."""
        result = self.run("--json", *arguments, **env)
        assert result.code == exit_code, (result.code, result.stdout, result.stderr)
        assert "Traceback" not in result.stderr
        error = result.json["error"]
        assert isinstance(error, dict)
        assert (error["code"], error["exit_code"]) == (code, exit_code), error
        return error

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Starts and does not wait."""
        return subprocess.Popen(
            [*COMMAND, *arguments], env={**self.environment(), **env}, text=True, cwd=self.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def cpu_seconds(self, *arguments: str) -> float:
        """What one run cost, best of five: unlike wall time, it hardly minds a busy machine."""
        return min(self._cpu_seconds(arguments) for _try in range(5))

    def _cpu_seconds(self, arguments: Sequence[str]) -> float:
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=self.environment(), cwd=self.folder, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _pid, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return used.ru_utime + used.ru_stime

    def blobs(self) -> dict[str, bytes]:
        """Every file under a final blob name, of all repos."""
        found = self.cache.glob("models--*/blobs/*")
        return {path.name: path.read_bytes() for path in found if "." not in path.name}

    def leftovers(self) -> list[str]:
        """Everything unfinished or temporary below the home."""
        names = (path.name for path in self.folder.rglob("*") if path.is_file() or path.is_symlink())
        return sorted(name for name in names if name.endswith((".incomplete", ".parts", ".tmp")))


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL: no cleaning up."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def wait_until(ready: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def without_times(text: str, replacements: Sequence[tuple[str, str]]) -> str:
    """The text with what differs between runs put out of the way."""
    for found, instead in replacements:
        text = text.replace(found, instead)
    return text
