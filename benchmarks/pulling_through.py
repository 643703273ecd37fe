"""A cold stampede: many clients ask at once for a file that only upstream has, against one client alone.

    python -m benchmarks.pulling_through [--size-mb 16] [--rate-mb 1] [--clients 200] [--folder DIR] [--smoke]

| row          | what                                                      | promise                                  |
|--------------|-----------------------------------------------------------|------------------------------------------|
| total time   | until the last of 200 cold clients has the whole file     | under 1.5 of what one cold client takes  |
| upstream     | GETs of the file that upstream sees                       | exactly one                              |
| other people | a file that is held, asked for all the while              | always answered; the slowest is printed  |

Upstream is as fast as a line of `rate-mb` MB/s is. `manage.py web` runs as it comes: two processes of 32 threads. A
client that finds no room to wait is told 503 with Retry-After, as it would be in life, and curl keeps to that. One
copy of each run is hashed. All copies go through one curl on the same machine, so the line must be some 300 times
slower than loopback for this to measure waiting, and not sending: `benchmarks.serving` measures that.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from tests.services.deployment import Deployment
from tests.services.hub import Hub

FILE = "model.safetensors"
PROMISED_RATIO = 1.5


def make_repos(hub: Hub, folder: Path, size_bytes: int) -> dict[str, str]:
    """Two repos with a file each that nobody has; the sha256 of each."""
    made = {}
    for name in ("bench/alone", "bench/many"):
        path = folder / name / FILE
        path.parent.mkdir(parents=True)
        path.write_bytes(random.Random(name).randbytes(size_bytes))
        made[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        hub.add(name, {FILE: path, "config.json": b"{}"})
    return made


def pull(url: str, clients: int, copy: Path) -> float:
    """Seconds until all have the whole file; the first of them keeps it as `copy`."""
    command = ["curl", "-sS", "--fail-early", "-f", "--retry", "300", "--retry-delay", "1",
               "--parallel", "--parallel-immediate", "--parallel-max", str(clients),
               "-w", "%{http_code} %{size_download}\n"]  # fmt: skip
    for number in range(clients):
        command += ["-o", str(copy if number == 0 else "/dev/null"), url]
    started = time.monotonic()
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    whole = [line for line in told.stdout.splitlines() if line == f"200 {copy.stat().st_size}"]
    if told.returncode or len(whole) != clients:
        raise SystemExit(
            f"{len(whole)} of {clients} clients have the file: {told.stdout[-500:]} {told.stderr[-500:]}"
        )
    return seconds


class Bystander(threading.Thread):
    """Asks for a small file that is held, again and again; remembers the slowest answer."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.slowest_seconds, self.n_answers = url, 0.0, 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.1):
            started = time.monotonic()
            with urllib.request.urlopen(self.url, timeout=60) as answer:
                answer.read()
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - started)
            self.n_answers += 1


def measure(folder: Path, options: argparse.Namespace) -> bool:
    size = int(options.size_mb * 1e6)
    with Hub() as hub:
        made = make_repos(hub, folder / "made", size)
        hub.fault("slow", path=FILE, rate=int(options.rate_mb * 1e6))
        with Deployment(
            folder / "deployment", HOLDFAST_PULL_THROUGH=f"hf+{hub.url}", **PATIENT
        ) as deployment:
            base = deployment.start_web()
            urllib.request.urlopen(f"{base}/bench/alone/resolve/main/config.json", timeout=60).read()
            alone = pull(f"{base}/bench/alone/resolve/main/{FILE}", 1, folder / "alone")
            bystander = Bystander(f"{base}/bench/alone/resolve/main/config.json")
            bystander.start()
            many = pull(f"{base}/bench/many/resolve/main/{FILE}", options.clients, folder / "many")
            bystander.done.set()
            bystander.join()
        for name, sha256 in made.items():
            if hashlib.sha256((folder / name.rpartition("/")[2]).read_bytes()).hexdigest() != sha256:
                raise SystemExit(f"{name}: a client got other bytes")
        n_upstream = sum("bench/many" in seen.target for seen in hub.seen("resolve", FILE))
    ratio = many / alone
    print(f"{options.size_mb:g} MB from an upstream of {options.rate_mb:g} MB/s: one client {alone:.1f} s, "
          f"{options.clients} at once {many:.1f} s, upstream GETs {n_upstream} (promised 1)")  # fmt: skip
    print(f"meanwhile a held file was asked for {bystander.n_answers} times: "
          f"the slowest answer took {bystander.slowest_seconds:.2f} s")  # fmt: skip
    print(f"ratio: {ratio:.2f} ({options.clients} cold clients against one; promised below {PROMISED_RATIO})")
    return n_upstream == 1 and (options.smoke or ratio < PROMISED_RATIO)


# A lease outlives what a machine that is busy with 200 clients may do to a heartbeat.
PATIENT = {"HOLDFAST_HEARTBEAT_SECONDS": "10", "HOLDFAST_LEASE_SECONDS": "30"}


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-mb", type=float, default=16)
    parser.add_argument("--rate-mb", type=float, default=1, help="MB a second that upstream gives")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--smoke", action="store_true", help="2 MB, 20 clients, not judged by time")
    options = parser.parse_args()
    if options.smoke:
        options.size_mb, options.rate_mb, options.clients = 2, 4, 20
    return options


def main() -> int:
    options = read_options()
    folder = Path(tempfile.mkdtemp(prefix="bench-through-", dir=options.folder))
    os.environ.setdefault(
        "HOLDFAST_DATA", str(folder / "template")
    )  # where Deployment keeps its empty database
    Path(os.environ["HOLDFAST_DATA"]).mkdir(parents=True, exist_ok=True)
    try:
        kept = measure(folder, options)
    finally:
        shutil.rmtree(folder)
    print("kept" if kept else "BROKEN")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
