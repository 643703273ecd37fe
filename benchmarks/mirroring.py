"""Mirroring one large file from a loopback hub, against `curl | tee file | sha256sum` to the same disk.

    python -m benchmarks.mirroring [--size-mb 4096] [--rounds 3] [--folder DIR] [--smoke]

Prints the rate of both, their ratio (the promise: at least 0.7), and the peak memory of the mirroring process, all
its threads included (the promise: under 300 MB whatever the size). Both write to the same disk and both sync what
they wrote; rounds alternate and the best of each counts, because other work on the machine only ever slows down.
`--smoke` runs it tiny, to see that it runs; its ratio means nothing.
The file is made once, of random bytes, and served by sendfile from a process of its own.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPO = "bench/model"
PROMISED_RATIO, PROMISED_MB = 0.7, 300


def make_file(path: Path, size_mb: int) -> str:
    """Random bytes, a block of them repeated with a counter so that making 4 GB is quick; returns the sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = bytearray(os.urandom(1 << 20))
    digest = hashlib.sha256()
    with path.open("wb") as opened:
        for number in range(size_mb):
            block[:8] = number.to_bytes(8, "little")
            opened.write(block)
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def running_hub(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.services.hub", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def time_curl(url: str, folder: Path, sha256: str) -> float:
    """Seconds until the file is downloaded, hashed and on the disk."""
    target = folder / "curl.bin"
    script = 'curl -sS "$1" | tee "$2" | sha256sum && sync "$2"'
    started = time.monotonic()
    done = subprocess.check_output(
        ["bash", "-c", script, "bash", f"{url}/{REPO}/resolve/main/model.bin", target]
    )
    seconds = time.monotonic() - started
    target.unlink()
    if done.decode().split()[0] != sha256:
        raise SystemExit("curl got other bytes")
    return seconds


def time_mirror(url: str, folder: Path) -> tuple[float, float]:
    """Seconds between the job's claim and its end, and the peak memory of the process in MB."""
    data = Path(tempfile.mkdtemp(prefix="data-", dir=folder))
    env = os.environ | {"HOLDFAST_DATA": str(data), "HOLDFAST_LOG_LEVEL": "WARNING"}
    for name in ("HOLDFAST_BLOBS", "DATABASE_URL", "HOLDFAST_BROKER"):
        env.pop(name, None)
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True)
    command = [sys.executable, "-m", "benchmarks.mirroring", "--as-worker", f"hf+{url}/{REPO}"]
    told = json.loads(subprocess.check_output(command, cwd=ROOT, env=env).splitlines()[-1])
    shutil.rmtree(data)
    return told["seconds"], told["peak_mb"]


def work(upstream: str) -> None:
    """In a process of its own: one mirror job as a worker does it, and what it cost."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "registry.settings"
    import django

    django.setup()
    from mirror.sync import submit_mirror
    from mirror.upstream import parse_upstream_ref
    from registry import work as engine

    job = submit_mirror(parse_upstream_ref(upstream), send_nudge=False)
    started = time.monotonic()
    engine.run_job(job.pk)
    seconds = time.monotonic() - started
    job.refresh_from_db()
    if job.state != "succeeded":
        raise SystemExit(f"{job.error_code}: {job.error_message}")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb}))


def measure(folder: Path, size_mb: int, rounds: int) -> dict[str, float]:
    sha256 = make_file(folder / "served" / REPO / "model.bin", size_mb)
    curl, mirror, peak = [], [], 0.0
    with running_hub(folder / "served") as url:
        for _ in range(rounds):
            curl.append(time_curl(url, folder, sha256))
            seconds, peak_mb = time_mirror(url, folder)
            mirror.append(seconds)
            peak = max(peak, peak_mb)
    return {
        "size_mb": size_mb, "curl_mb_s": size_mb / min(curl), "mirror_mb_s": size_mb / min(mirror),
        "ratio": min(curl) / min(mirror), "peak_mb": peak,
    }  # fmt: skip


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-mb", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="on the disk to measure (default: the system's temporary folder)"
    )
    parser.add_argument("--smoke", action="store_true", help="32 MB, once, not judged")
    parser.add_argument("--as-worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    options = read_options()
    if options.as_worker:
        work(options.as_worker)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="bench-mirroring-", dir=options.folder))
    try:
        told = measure(folder, 32, 1) if options.smoke else measure(folder, options.size_mb, options.rounds)
    finally:
        shutil.rmtree(folder)
    print(
        f"mirroring {told['size_mb']} MB: {told['mirror_mb_s']:.0f} MB/s, curl | tee | sha256sum "
        f"{told['curl_mb_s']:.0f} MB/s, peak memory {told['peak_mb']:.0f} MB (promised: under {PROMISED_MB})"
    )
    print(
        f"ratio: {told['ratio']:.2f} (mirroring against curl | tee | sha256sum, synced; promised {PROMISED_RATIO})"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
