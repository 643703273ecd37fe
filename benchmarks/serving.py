"""Serving one large file over HTTP in the embedded default, against nginx on the very same file.

    python -m benchmarks.serving [--size-mb 1024] [--rounds 5] [--readers 100] [--folder DIR] [--smoke]

| row            | ours                                            | promise                             |
|----------------|-------------------------------------------------|-------------------------------------|
| one large file | `manage.py web` (gunicorn, sendfile), curl      | at least 0.5 of nginx with sendfile |
| many readers   | 100 clients at once, each a range of its own    | the processes' memory does not grow |
| small answers  | HEAD resolve, repo info, over one connection    | p50, at most 4 queries each         |

Rounds alternate and the best of each counts, because other work on the machine only ever slows down. Both send from
the page cache to /dev/null. Where nginx is not installed, the peer is `curl file://`, and the output says so.
"""

import argparse
import http.client
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.mirroring import make_file
from tests.services.deployment import Deployment
from tests.services.processes import free_port, wait_for

REPO, FILE = "bench/model", "model.safetensors"
PROMISED_RATIO, PROMISED_GROWTH = 0.5, 0.1
RANGE_BYTES = 4 << 20
RECORD = """
from pathlib import Path
from tests.checkpoints import record_commit
record_commit("{repo}", Path("{folder}"))
"""
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; location /file {{ alias {file}; }} }}
}}
"""


@contextmanager
def running_nginx(folder: Path, file: Path) -> Iterator[str]:
    """nginx with sendfile on one file; the file's URL."""
    port = free_port()
    config = folder / "nginx.conf"
    user = "user root;" if os.getuid() == 0 else ""  # as root it would read as `nobody`, which may not
    config.write_text(NGINX.format(folder=folder, port=port, file=file, user=user))
    process = subprocess.Popen(["nginx", "-e", folder / "error.log", "-c", config], stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/file"
        wait_for(lambda: answers(url), seconds=10, what="nginx")
        yield url
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=2):
            return True
    except OSError:
        return False


def curl(url: str, size: int) -> float:
    """Seconds for the whole file."""
    command = ["curl", "-sSf", "-o", "/dev/null", "-w", "%{size_download} %{time_total}", url]
    received, seconds = subprocess.check_output(command, text=True).split()
    if int(received) != size:
        raise SystemExit(f"{url} gave {received} of {size} bytes")
    return float(seconds)


def compare(ours: str, peer: str, size: int, rounds: int) -> tuple[float, float]:
    """The best seconds of each; one round more that does not count fills the page cache."""
    pairs = [(curl(ours, size), curl(peer, size)) for _ in range(rounds + 1)][1:]
    return min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)


def memory_mb(deployment_folder: Path) -> float:
    """The anonymous memory of every gunicorn process of this deployment."""
    total = 0
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or str(deployment_folder) not in (entry / "environ").read_text(
                errors="replace"
            ):
                continue
            status = (entry / "status").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    return total / 1024


def read_ranges(url: str, size: int, readers: int, each: int) -> float:
    """So many clients at once read so many ranges each; returns MB per second of them all."""
    failures: list[str] = []

    def read(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(each):
            start = choose.randrange(max(1, size - RANGE_BYTES))
            end = min(start + RANGE_BYTES, size)
            request = urllib.request.Request(url, headers={"Range": f"bytes={start}-{end - 1}"})
            with urllib.request.urlopen(request, timeout=120) as response:
                if response.status != 206 or len(response.read()) != end - start:
                    failures.append(f"{start}-{end}")

    threads = [threading.Thread(target=read, args=(number,)) for number in range(readers)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"{len(failures)} ranges came back wrong: {failures[:3]}")
    return readers * each * min(RANGE_BYTES, size) / (time.monotonic() - started) / 1e6


def median_ms(host: str, method: str, path: str, count: int) -> float:
    """The median answer time over one kept connection."""
    connection = http.client.HTTPConnection(host, timeout=10)
    times = []
    for _ in range(count):
        started = time.perf_counter()
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        times.append(time.perf_counter() - started)
        if response.status != 200:
            raise SystemExit(f"{method} {path} answered {response.status}")
    return statistics.median(times) * 1000


def measure(folder: Path, options: argparse.Namespace) -> bool:
    size = options.size_mb << 20
    with ExitStack() as stack:
        deployment = stack.enter_context(Deployment(folder / "deployment"))
        sha256 = make_file(folder / "made" / FILE, options.size_mb)
        deployment.manage("shell", "-c", RECORD.format(repo=REPO, folder=folder / "made"))
        stored = folder / "deployment" / "store" / "blobs" / "sha256" / sha256[:2] / sha256[2:4] / sha256
        base = deployment.start_web()
        has_nginx = shutil.which("nginx") is not None
        name = "nginx with sendfile" if has_nginx else "curl file://, because nginx is NOT INSTALLED here"
        peer = stack.enter_context(running_nginx(folder, stored)) if has_nginx else f"file://{stored}"
        url = f"{base}/{REPO}/resolve/main/{FILE}"
        ours, theirs = compare(url, peer, size, options.rounds)
        rates = f"ours {size / ours / 1e6:.0f} MB/s, {name} {size / theirs / 1e6:.0f} MB/s"
        print(f"one file of {options.size_mb} MB: {rates}")
        print(f"ratio: {theirs / ours:.2f} (manage.py web against {name}; promised {PROMISED_RATIO})")
        growth = report_readers(url, size, options, lambda: memory_mb(folder / "deployment"))
        report_small(base.removeprefix("http://"), options)
    return options.smoke or (theirs / ours >= PROMISED_RATIO and growth <= PROMISED_GROWTH)


def report_readers(url: str, size: int, options: argparse.Namespace, memory: Callable[[], float]) -> float:
    """Prints the memory before and after many readers; returns how much it grew.

    The same load went before: every thread has its connection and its arena by then, and only a leak still grows.
    """
    read_ranges(url, size, options.readers, options.ranges)
    before = memory()
    rate = read_ranges(url, size, options.readers, options.ranges)
    after = memory()
    growth = after / before - 1
    print(
        f"{options.readers} readers at once, {options.ranges} ranges of {RANGE_BYTES >> 20} MB each: {rate:.0f} MB/s, "
        f"memory of the web processes {before:.0f} MB before, {after:.0f} MB after, growth {growth:+.1%} "
        f"(promised below {PROMISED_GROWTH:.0%})"
    )
    return growth


def report_small(host: str, options: argparse.Namespace) -> None:
    for method, path in [("HEAD", f"/{REPO}/resolve/main/{FILE}"), ("GET", f"/api/models/{REPO}")]:
        print(f"{method} {path}: p50 {median_ms(host, method, path, options.requests):.2f} ms")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-mb", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--ranges", type=int, default=10, help="per reader (default %(default)s)")
    parser.add_argument("--requests", type=int, default=500, help="small ones (default %(default)s)")
    parser.add_argument(
        "--folder", type=Path, help="where to keep the file (default: the system's temporary folder)"
    )
    parser.add_argument("--smoke", action="store_true", help="8 MB, once, not judged")
    options = parser.parse_args()
    if options.smoke:
        options.size_mb, options.rounds, options.readers, options.ranges, options.requests = 8, 1, 8, 1, 20
    return options


def main() -> int:
    options = read_options()
    folder = Path(tempfile.mkdtemp(prefix="bench-serving-", dir=options.folder))
    os.environ.setdefault(
        "HOLDFAST_DATA", str(folder / "template")
    )  # where Deployment keeps its empty database
    os.environ.pop("HOLDFAST_TEST_STORE_URL", None)  # the promise is about the embedded default
    Path(os.environ["HOLDFAST_DATA"]).mkdir(parents=True, exist_ok=True)
    try:
        kept = measure(folder, options)
    finally:
        shutil.rmtree(folder)
    print("kept" if kept else "BROKEN")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
