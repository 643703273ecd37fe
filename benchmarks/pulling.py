"""How fast a repo comes home, verified: `python -m benchmarks.pulling [--gigabytes N] [--rounds N] [--smoke]`.

| row              | ours                                      | against                                          |
|------------------|-------------------------------------------|--------------------------------------------------|
| one large file   | `holdfast pull`, sha256 of every byte     | `hf download`, which checks sizes only           |
| 200 small files  | the same                                  | the same                                         |
| capped lines     | `holdfast pull`, each connection 20 MB/s  | `hf download` over the same                      |

Same server (the loopback hub of the tests, sendfile, a process of its own), same files, whole processes, alternated;
the best round of each counts, because everything else on the machine only adds. CPU seconds are the client's own.
`--endpoint URL --repo org/name` measures any other running index instead, without the other two rows.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PIECE_BYTES = 1 << 24
CAPPED_BYTES_PER_SECOND = 20_000_000
TOOLS = {
    "holdfast pull": [sys.executable, "-m", "holdfast", "-q", "pull"],
    "hf download": [str(Path(sys.executable).with_name("hf")), "download"],
}


class Measured(NamedTuple):
    """Wall seconds, the process's CPU seconds, and its peak memory in MB."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def make_repo(folder: Path, sizes: dict[str, int]) -> None:
    """Files of noise, so that nothing can compress them."""
    noise = random.Random(7)
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for start in range(0, size, PIECE_BYTES):
                file.write(noise.randbytes(min(PIECE_BYTES, size - start)))


@contextmanager
def serving(folder: Path, *, bytes_per_second: int = 0) -> Iterator[str]:
    """The loopback hub as a process; its URL."""
    code = "import sys, threading; from pathlib import Path; from tests.services.hub import Hub\n"
    code += "with Hub() as hub:\n"
    code += "    [hub.add(f'{one.parent.name}/{one.name}', one) for one in Path(sys.argv[1]).glob('*/*')]\n"
    if bytes_per_second:
        code += f"    hub.fault('slow', rate={bytes_per_second})\n"
    code += "    print(hub.url, flush=True); threading.Event().wait()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def pull_once(command: list[str], url: str, repo_id: str) -> Measured:
    """One whole process into an empty cache."""
    home = Path(tempfile.mkdtemp(prefix="holdfast-bench-", dir=os.environ.get("HOLDFAST_BENCH_DIR")))
    env = {
        **os.environ, "HF_HOME": str(home), "HF_ENDPOINT": url, "HOLDFAST_INDEX_URL": url,
        "PYTHONPATH": str(ROOT / "client" / "src"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    try:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, repo_id], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _pid, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"{command} failed"
        return Measured(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)
    finally:
        shutil.rmtree(home)


def compare(title: str, url: str, repo_id: str, size_bytes: int, rounds: int) -> None:
    """Prints both tools and the ratio of their best rounds."""
    runs: dict[str, list[Measured]] = {name: [] for name in TOOLS}
    for _round in range(rounds):
        for name, command in TOOLS.items():
            runs[name].append(pull_once(command, url, repo_id))
    print(f"\n{title}, {size_bytes / 1e9:.2f} GB, best of {rounds}")
    best = {name: min(measured, key=lambda one: one.seconds) for name, measured in runs.items()}
    for name, one in best.items():
        cpu = min(measured.cpu_seconds for measured in runs[name])
        rate = size_bytes / 1e6 / one.seconds
        print(
            f"  {name:14} {one.seconds:7.2f} s {rate:7.0f} MB/s   {cpu:5.2f} s CPU   {one.peak_mb:4.0f} MB peak"
        )
    ours, theirs = best["holdfast pull"], best["hf download"]
    print(
        f"ratio: {ours.seconds / theirs.seconds:.2f} (holdfast pull, verified, against hf download: {title})"
    )


def run_rows(gigabytes: float, rounds: int) -> None:
    size = int(gigabytes * 1e9)
    rows = {
        "one large file": ({"model.safetensors": size}, 0),
        "200 small files": ({f"folder/{n:03}.json": 20_000 for n in range(200)}, 0),
        "capped lines": ({"model.safetensors": min(size // 8, 400_000_000)}, CAPPED_BYTES_PER_SECOND),
    }
    for title, (sizes, cap) in rows.items():
        with tempfile.TemporaryDirectory(dir=os.environ.get("HOLDFAST_BENCH_DIR")) as folder:
            make_repo(Path(folder) / "org" / "bench", sizes)
            with serving(Path(folder), bytes_per_second=cap) as url:
                compare(title, url, "org/bench", sum(sizes.values()), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="20 MB, one round")
    parser.add_argument("--endpoint", help="measure this running index instead")
    parser.add_argument("--repo", default="org/bench", help="what to pull from --endpoint")
    args = parser.parse_args()
    if args.smoke:
        args.gigabytes, args.rounds = 0.02, 1
    if args.endpoint:
        compare(args.repo, args.endpoint, args.repo, int(args.gigabytes * 1e9), args.rounds)
    else:
        run_rows(args.gigabytes, args.rounds)


if __name__ == "__main__":
    main()
