"""What a pull will do, known before it does it: which bytes are here, which must come, and whether they fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from holdfast.choosing.selection import Selection
from holdfast.fetching.destination import Destination
from holdfast.fetching.disk import check_space, disk_errors
from holdfast.paths import check_lengths, longest_path
from holdfast.sources.remote import RemoteFile


@dataclass(frozen=True)
class Plan:
    """The files of a selection, split. Files with equal bytes are fetched once."""

    selection: Selection
    files: tuple[RemoteFile, ...]
    fetches: tuple[RemoteFile, ...]
    staged_bytes: int  # of the fetches, already here from an interrupted pull
    here: frozenset[str] = frozenset()  # the etags among them that this machine claims to hold elsewhere
    here_bytes: int = 0  # what bringing those will take of the disk

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def fetch_bytes(self) -> int:
        """What is left to fetch."""
        return sum(file.size_bytes for file in self.fetches if not self.is_here(file)) - self.staged_bytes

    @property
    def linked_bytes(self) -> int:
        """What need not be fetched, because this machine holds it elsewhere."""
        return sum(file.size_bytes for file in self.fetches if self.is_here(file))

    def is_here(self, file: RemoteFile) -> bool:
        """Whether the file's bytes are brought from another place of this machine, unless they turn out damaged."""
        return file.etag in self.here

    def is_fetched(self, file: RemoteFile) -> bool:
        """Whether the file's bytes come over the network, or from another place of this machine."""
        return file.etag in self._fetched_etags

    def state_of(self, file: RemoteFile) -> str:
        """held where it belongs, linked from another place of this machine, or fetched."""
        if not self.is_fetched(file):
            return "held"
        return "linked" if self.is_here(file) else "fetched"

    @cached_property
    def _fetched_etags(self) -> frozenset[str]:
        return frozenset(file.etag for file in self.fetches)


def make_plan(selection: Selection, destination: Destination, *, force: bool) -> Plan:
    """The plan. Reads the destination, writes nothing; raises FileInTheWay."""
    check_lengths(_places(selection.files, destination), limit=longest_path())
    with disk_errors(destination.root):
        missing = [file for file in selection.files if force or not destination.holds(file)]
        fetches = _unique(missing)
        here = [] if force else [file for file in fetches if destination.copies(file)]
        etags = frozenset(file.etag for file in here)
        staged = sum(
            _bytes_on_disk(destination.staged_path(file), file.size_bytes)
            for file in fetches
            if file.etag not in etags
        )
    room = sum(file.size_bytes for file in here if destination.needs_room(file))
    return Plan(selection, selection.files, fetches, staged, etags, room)


def check_fits(plan: Plan, destination: Destination) -> None:
    """Raises NoSpace if the disk cannot hold the plan."""
    check_space(destination.root, max(plan.fetch_bytes, 0) + plan.here_bytes)


def _places(files: Iterable[RemoteFile], destination: Destination) -> Iterator[Path]:
    """Every name that the files will have on the disk, for good or while they arrive."""
    for file in files:
        yield destination.path_of(file)
        staged = destination.staged_path(file)
        yield staged.with_name(f"{staged.name}.parts")


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
