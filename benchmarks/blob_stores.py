"""How fast bytes become blobs, as ratios: `python -m benchmarks.blob_stores [--gigabytes N | --smoke]`.

| row                | ours                                 | against                                             |
|--------------------|--------------------------------------|-----------------------------------------------------|
| directory, durable | stage, write, hash, fsync, promote   | `cat FILE | tee COPY | sha256sum`, which syncs nothing |
| S3 on loopback     | the same                             | boto3 `upload_file`, which knows no sha256 of the whole |

Peak memory is that of a child process which does nothing else. The source is read from the page cache.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from mirror.blobs import store_from_url
from mirror.blobs.s3 import S3Store
from mirror.blobs.store import blob_key
from tests.services.objectstore import running_weed

PIECE_BYTES = 1 << 20


class Measured(NamedTuple):
    """Seconds it took, and the process's peak memory in MB."""

    seconds: float
    peak_mb: float


def store_file(url: str, file: Path) -> Measured:
    started = time.perf_counter()
    store = store_from_url(url)
    with store.stage("bench") as staged, file.open("rb", buffering=0) as source:
        while piece := source.read(PIECE_BYTES):
            staged.write(piece)
        digests = staged.finish()
        store.promote(staged, blob_key(digests.sha256), sha256=digests.sha256, size_bytes=digests.size_bytes)
    seconds = time.perf_counter() - started
    store.delete(blob_key(digests.sha256))
    return Measured(seconds, _peak_mb())


def upload_file(url: str, file: Path) -> Measured:
    store = store_from_url(url)
    assert isinstance(store, S3Store)
    started = time.perf_counter()
    store.connection.client.upload_file(str(file), store.connection.bucket, "bench")
    seconds = time.perf_counter() - started
    store.delete("bench")
    return Measured(seconds, _peak_mb())


def tee_and_hash(file: Path, copy: Path) -> Measured:
    started = time.perf_counter()
    subprocess.run(f"cat {file} | tee {copy} | sha256sum >/dev/null", shell=True, check=True)
    seconds = time.perf_counter() - started
    copy.unlink()
    return Measured(seconds, 0)


def in_child(function, *arguments):
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def show(name: str, peer: str, size: int, ours: Measured, theirs: Measured) -> None:
    mb = size / 1e6
    print(
        f"{name}: {mb / ours.seconds:.0f} MB/s, {peer} {mb / theirs.seconds:.0f} MB/s, peak {ours.peak_mb:.0f} MB"
    )
    print(f"ratio: {theirs.seconds / ours.seconds:.2f} ({name} against {peer})")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _best(rounds: list[Measured]) -> Measured:
    return Measured(min(r.seconds for r in rounds), max(r.peak_mb for r in rounds))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--smoke", action="store_true", help="64 MB, to see that it runs")
    options = parser.parse_args()
    size = 64_000_000 if options.smoke else int(options.gigabytes * 1e9)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "source"
        with file.open("wb") as out:
            for start in range(0, size, PIECE_BYTES):
                out.write(os.urandom(min(PIECE_BYTES, size - start)))
        pairs = [
            (in_child(store_file, f"file://{folder}/store", file), tee_and_hash(file, folder / "copy"))
            for _ in range(3)
        ]
        show(
            "directory store, durable",
            "cat | tee | sha256sum",
            size,
            *(_best(list(side)) for side in zip(*pairs, strict=True)),
        )
        with running_weed(folder / "weed") as url:
            pairs = [(in_child(store_file, url, file), in_child(upload_file, url, file)) for _ in range(2)]
        show(
            "S3 store on loopback",
            "boto3 upload_file",
            size,
            *(_best(list(side)) for side in zip(*pairs, strict=True)),
        )
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
