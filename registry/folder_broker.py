"""The embedded broker: kombu's filesystem transport, made to survive a SIGKILL at any instruction.

kombu writes a message, and its table of queues, in place: a process that is killed in between leaves half a file, on
which every worker that reads it dies with a JSON error (seen after 160 kills), and a reader that comes between open and
write meets the same. Here files appear whole by rename, a message belongs to whoever unlinks it, and what cannot
be read counts as lost, which a nudge may always be.
"""

import fcntl
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

logger = logging.getLogger(__name__)


class Channel(filesystem.Channel):
    """Messages are files `<nanoseconds>_<uuid>.<queue>.msg`; the oldest is taken first."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]  # as kombu's own
        name = f"{time.time_ns()}_{uuid.uuid4()}.{queue}.msg"
        _write_whole(Path(self.data_folder_out) / name, payload)

    def _get(self, queue: str, timeout: Any = None) -> Any:
        folder = Path(self.data_folder_in)
        names = sorted(file.name for file in folder.iterdir())
        for name in (name for name in names if name.partition(".")[2] == f"{queue}.msg"):
            payload = _take(folder / name)
            if payload is not None:
                return payload
        raise Empty

    def get_table(self, exchange: str) -> list[Any]:
        try:
            return list(super().get_table(exchange))  # type: ignore[no-untyped-call]
        except ValueError:
            logger.warning("the queue table of exchange %s is broken and counts as empty", exchange)
            return []

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        wanted = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        file = self._exchange_file(exchange)  # type: ignore[no-untyped-call]
        with _locked(self.control_folder):
            table = self.get_table(exchange)
            if wanted not in table:
                _write_whole(file, [wanted, *table])


class Transport(filesystem.Transport):
    Channel = Channel


def _write_whole(file: Path, value: Any) -> None:
    """The file is there with all of its content, or is as it was."""
    part = file.with_name(f".{uuid.uuid4()}.part")
    part.write_bytes(dumps(value).encode())  # type: ignore[no-untyped-call]
    part.replace(file)


def _take(file: Path) -> Any:
    """The message, which nobody else gets any more; None if somebody was faster or it cannot be read."""
    try:
        data = file.read_bytes()
        file.unlink()
    except FileNotFoundError:
        return None
    try:
        return loads(data.decode())  # type: ignore[no-untyped-call]
    except ValueError:
        logger.warning("a broken message was dropped: %s; the sweeper nudges again", file.name)
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
