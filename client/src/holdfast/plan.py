"""What a pull will do, known before it does it: which bytes are here, which must come, and whether they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.destination import Destination
from holdfast.disk import check_space, disk_errors
from holdfast.remote import RemoteFile
from holdfast.selection import Selection


@dataclass(frozen=True)
class Plan:
    """The files of a selection, split. Files with equal bytes are fetched once."""

    selection: Selection
    files: tuple[RemoteFile, ...]
    fetches: tuple[RemoteFile, ...]
    staged_bytes: int  # of the fetches, already here from an interrupted pull

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def fetch_bytes(self) -> int:
        """What is left to fetch."""
        return sum(file.size_bytes for file in self.fetches) - self.staged_bytes

    def is_fetched(self, file: RemoteFile) -> bool:
        """Whether the file's bytes come over the network (or from the cache, for a plain folder)."""
        return any(fetch.etag == file.etag for fetch in self.fetches)


def make_plan(selection: Selection, destination: Destination, *, force: bool) -> Plan:
    """The plan. Reads the destination, writes nothing; raises FileInTheWay."""
    with disk_errors(destination.root):
        missing = [file for file in selection.files if force or not destination.holds(file)]
        fetches = _unique(missing)
        staged = sum(_bytes_on_disk(destination.staged_path(file), file.size_bytes) for file in fetches)
    return Plan(selection, selection.files, fetches, staged)


def check_fits(plan: Plan, destination: Destination) -> None:
    """Raises NoSpace if the disk cannot hold the plan."""
    check_space(destination.root, max(plan.fetch_bytes, 0))


def _unique(files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    return tuple({file.etag: file for file in reversed(files)}.values())[::-1]


def _bytes_on_disk(path: Path, size_bytes: int) -> int:
    """The space an unfinished file already takes: it may have holes."""
    try:
        status = path.stat()
    except OSError:
        return 0
    blocks = getattr(status, "st_blocks", None)
    return min(size_bytes, status.st_size if blocks is None else blocks * 512)
