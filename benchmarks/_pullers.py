"""What `benchmarks.pulling` runs: three programs that take a repo home, and three servers that hold it."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from benchmarks._peers import Measured
from tests.services.deployment import Deployment
from tests.services.objectstore import running_weed

ROOT = Path(__file__).resolve().parent.parent
REPO_ID = "org/bench"
PIECE_BYTES = 1 << 24
ARIA = "aria2c -x8 + sha256sum"
RECORD = """
from pathlib import Path
from tests.checkpoints import record_commit
record_commit("{repo_id}", Path("{folder}"))
"""
HUB = """
import sys, threading
from pathlib import Path
from tests.services.hub import Hub
with Hub() as hub:
    hub.add("{repo_id}", Path("{folder}"))
    {fault}
    print(hub.url, flush=True)
    threading.Event().wait()
"""
# In a small process of its own, because the peak memory of a process counts what forked it too.
MEASURE = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_pid, status, used = os.wait4(process.pid, 0)
print(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss)
process.returncode = os.waitstatus_to_exitcode(status)
sys.exit(abs(process.returncode))
"""

Serving = Callable[[Path, Path], AbstractContextManager[str]]


class Source(NamedTuple):
    """A repo that a server holds, and the folder with the same files."""

    url: str
    repo_id: str
    folder: Path
    size_bytes: int


# --- what is pulled ---------------------------------------------------------------------------------------


def make_files(folder: Path, sizes: dict[str, int]) -> None:
    """Files of noise, so that nothing can compress them."""
    noise = random.Random(7)
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for start in range(0, size, PIECE_BYTES):
                file.write(noise.randbytes(min(PIECE_BYTES, size - start)))


def files_of(folder: Path) -> list[Path]:
    """All files below, largest first."""
    return sorted(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: -path.stat().st_size
    )


# --- who serves -------------------------------------------------------------------------------------------


@contextmanager
def embedded(files: Path, work: Path) -> Iterator[str]:
    """`manage.py web` as it comes: SQLite, a directory, sendfile."""
    with Deployment(work / "deployment", HOLDFAST_BLOBS=f"file://{work}/store") as deployment:
        deployment.manage("shell", "-c", RECORD.format(repo_id=REPO_ID, folder=files))
        yield deployment.start_web()


@contextmanager
def redirecting(files: Path, work: Path) -> Iterator[str]:
    """The same with its blobs on an S3 server, to which it redirects."""
    with ExitStack() as stack:
        store = stack.enter_context(running_weed(work / "weed"))
        deployment = stack.enter_context(Deployment(work / "deployment", HOLDFAST_BLOBS=store))
        deployment.manage("shell", "-c", RECORD.format(repo_id=REPO_ID, folder=files))
        yield deployment.start_web()


def loopback(bytes_per_second: int = 0) -> Serving:
    """The hub of the tests as a process, each connection as slow as that."""

    @contextmanager
    def serving(files: Path, work: Path) -> Iterator[str]:
        fault = f"hub.fault('slow', rate={bytes_per_second})" if bytes_per_second else ""
        code = HUB.format(repo_id=REPO_ID, folder=files, fault=fault)
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()
            process.communicate()

    return serving


# --- who pulls --------------------------------------------------------------------------------------------


def holdfast(*arguments: str) -> list[str]:
    """Our command line, from its source."""
    return [sys.executable, "-m", "holdfast", *arguments]


def hf(*arguments: str) -> list[str]:
    """The hub's own."""
    return [str(Path(sys.executable).with_name("hf")), *arguments]


def commands(source: Source, work: Path) -> dict[str, list[str]]:
    """The programs, each a command that leaves the whole repo below HF_HOME. aria2c gets its lists made for it."""
    return {
        "holdfast pull": holdfast("-q", "pull", source.repo_id),
        "hf download": hf("download", source.repo_id),
        ARIA: _aria(source, work),
    }


def _aria(source: Source, work: Path) -> list[str]:
    urls, digests = [], []
    for path in files_of(source.folder):
        name = path.relative_to(source.folder).as_posix()
        urls.append(f"{source.url}/{source.repo_id}/resolve/main/{quote(name)}\n  out={name}\n")
        with path.open("rb") as file:
            digests.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    (work / "urls").write_text("".join(urls))
    (work / "digests").write_text("".join(digests))
    fetch = f"aria2c -q -x8 -s8 -j8 --file-allocation=none -d . -i {work / 'urls'}"
    return [
        "sh",
        "-c",
        f'mkdir -p "$HF_HOME" && cd "$HF_HOME" && {fetch} && sha256sum --quiet -c {work / "digests"}',
    ]


def run(command: list[str], home: Path, url: str = "") -> Measured:
    """One whole process with this home; a failure ends the benchmark."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
        "HF_HOME": str(home), "HF_ENDPOINT": url, "HOLDFAST_INDEX_URL": url,
        "PYTHONPATH": str(ROOT / "client" / "src"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }  # fmt: skip
    runner = [sys.executable, "-I", "-S", "-c", MEASURE, *command]
    done = subprocess.run(runner, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    seconds, cpu_seconds, peak_kb = map(float, done.stdout.split())
    return Measured(seconds, cpu_seconds, peak_kb / 1000)
