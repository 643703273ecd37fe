"""Bytes of a plan: fetched in parallel, hashed on the way, verified, and only then under their final name.

Safe to interrupt at any instant, and safe to run in several processes at once. What is unfinished is continued
next time.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, wait
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path

from holdfast.cache.locks import locked
from holdfast.errors import HashMismatch, HoldfastError, NetworkError
from holdfast.fetching.destination import Destination, moving
from holdfast.fetching.disk import disk_errors
from holdfast.fetching.following import FollowingHasher
from holdfast.fetching.hashing import Digests, Expected, Hasher, hash_file
from holdfast.fetching.partial import Partial
from holdfast.fetching.plan import Plan
from holdfast.fetching.progress import Progress
from holdfast.fetching.streams import Slots, Stopped, Streams
from holdfast.fetching.workers import worker_threads
from holdfast.network.patience import Patience
from holdfast.network.ranges import first_byte
from holdfast.network.transport import show_url
from holdfast.sources.remote import RemoteFile
from holdfast.sources.source import Opener
from holdfast.text import printable

WHOLE_BYTES = (
    4 * 1024 * 1024
)  # up to here a file is held in memory; beyond, it is staged with a map of its parts
MAX_FILES_AT_ONCE = 16


@dataclass(frozen=True)
class Fetcher:
    """What the fetching of every file of one plan shares."""

    opener: Opener
    plan: Plan
    destination: Destination
    progress: Progress
    slots: Slots
    stopping: threading.Event
    retries: int
    force: bool

    def sleep(self, seconds: float) -> None:
        """Waits, unless another file has failed."""
        if self.stopping.wait(seconds):
            raise Stopped


def fetch_plan(
    plan: Plan,
    opener: Opener,
    destination: Destination,
    progress: Progress,
    *,
    max_workers: int,
    retries: int,
    force: bool,
) -> int:
    """Afterwards every file of the plan is verified and accepted by the destination. Returns the bytes that came.

    The first error stops the rest where it is and is raised; what has arrived is kept.
    """
    if not plan.fetches:
        return 0
    fetcher = Fetcher(
        opener, plan, destination, progress, Slots(max_workers), threading.Event(), retries, force
    )
    _make_staging(fetcher)
    largest_first = sorted(plan.fetches, key=lambda file: -file.size_bytes)
    with worker_threads(min(max_workers, MAX_FILES_AT_ONCE), "file") as pool:
        futures = [pool.submit(_fetch_in_slot, fetcher, file) for file in largest_first]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            fetcher.stopping.set()
            for future in futures:
                future.cancel()
    errors = [
        error for future in futures if not future.cancelled() and (error := future.exception()) is not None
    ]
    for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
        raise error
    return sum(future.result() for future in futures)


def _make_staging(fetcher: Fetcher) -> None:
    with disk_errors(fetcher.destination.root):
        for folder in {fetcher.destination.staged_path(file).parent for file in fetcher.plan.fetches}:
            folder.mkdir(parents=True, exist_ok=True)


def _fetch_in_slot(fetcher: Fetcher, file: RemoteFile) -> int:
    fetcher.slots.take()
    try:
        if fetcher.stopping.is_set():
            raise Stopped
        with disk_errors(fetcher.destination.root):
            return _fetch(fetcher, file)
    finally:
        fetcher.slots.give_back()


def _fetch(fetcher: Fetcher, file: RemoteFile) -> int:
    """Returns how many bytes came over the network."""
    waiting = bind(fetcher.progress.say, f"waiting for another process that fetches {file.path}")
    with locked(fetcher.destination.lock_path(file), on_wait=waiting):
        if not fetcher.force and fetcher.destination.holds(file):
            fetcher.progress.started(file.path, file.size_bytes, file.size_bytes)
            fetcher.progress.finished(file.path)
            return 0
        staged = fetcher.destination.staged_path(file)
        if _adopt(fetcher, file):
            return 0
        if file.size_bytes <= WHOLE_BYTES:
            return _fetch_whole(fetcher, file, staged)
        return _fetch_parts(fetcher, file, staged)


def _expected(file: RemoteFile) -> Expected:
    """git's oid of an LFS file names its pointer, so it says nothing about these bytes."""
    return Expected(file.size_bytes, file.sha256, None if file.sha256 else file.git_oid, file.pins)


def _adopt(fetcher: Fetcher, file: RemoteFile) -> bool:
    """Takes the bytes from another place of this machine (the cache, another tool's store), if they are right."""
    if fetcher.force:
        return False
    for copy in fetcher.destination.copies(file):
        staged = fetcher.destination.bring(copy, file)
        if staged is None:
            continue  # another disk, or another user's file, and a copy was not asked for
        advance = bind(fetcher.progress.advanced, file.path)
        fetcher.progress.started(file.path, file.size_bytes, 0)
        got = hash_file(staged, with_git=file.sha256 is None, advance=advance)
        if _expected(file).difference(got) is None:
            fetcher.destination.accept(file, moving(staged))
            fetcher.progress.finished(file.path)
            return True
        staged.unlink()
        fetcher.progress.advanced(file.path, -got.size_bytes)
        fetcher.progress.say(f"{copy} is damaged: it is not {file.path}, which is fetched instead")
    return False


def _fetch_whole(fetcher: Fetcher, file: RemoteFile, staged: Path) -> int:
    """A small file: one request, in memory until it is verified."""
    fetcher.progress.started(file.path, file.size_bytes, 0)
    data, digests = _read_whole(fetcher, file)
    while _is_doubtful(fetcher, file, digests):
        data, digests = _read_whole(fetcher, file)
    _verify(fetcher, file, digests)
    staged.write_bytes(data)
    fetcher.destination.accept(file, moving(staged))
    fetcher.progress.finished(file.path)
    return len(data)


def _read_whole(fetcher: Fetcher, file: RemoteFile) -> tuple[bytearray, Digests]:
    data = bytearray()
    patience = Patience(fetcher.retries, fetcher.sleep)
    while len(data) < file.size_bytes:
        try:
            _read_rest(fetcher, file, data, patience)
        except HoldfastError as error:
            patience.wait_or_raise(error)
    hasher = Hasher(git_size=None if file.sha256 else file.size_bytes)
    hasher.update(data)
    return data, hasher.digests()


def _is_doubtful(fetcher: Fetcher, file: RemoteFile, digests: Digests) -> bool:
    """Whether the bytes are wrong and a mirror may be to blame, which is not asked again: worth another try."""
    if _expected(file).difference(digests) is None or not fetcher.opener.doubt(file.path):
        return False
    fetcher.progress.advanced(file.path, -file.size_bytes)
    return True


def _read_rest(fetcher: Fetcher, file: RemoteFile, data: bytearray, patience: Patience) -> None:
    """Appends what one request gives; a cut leaves what came."""
    selection = fetcher.plan.selection
    with fetcher.opener.open_file(selection.repo_id, selection.commit, file.path, len(data), None) as answer:
        if first_byte(answer, len(data), file.size_bytes, file.path):
            data.clear()  # the index ignores ranges
        while len(data) < file.size_bytes:
            piece = answer.read_some(file.size_bytes - len(data))
            if not piece:
                raise NetworkError(f"{show_url(answer.url)} ended before all bytes had come", url=answer.url)
            if fetcher.stopping.is_set():
                raise Stopped
            data += piece
            patience.progressed()
            fetcher.progress.advanced(file.path, len(piece))


def _fetch_parts(fetcher: Fetcher, file: RemoteFile, staged: Path) -> int:
    """A large file: staged with a map of its parts, hashed behind the streams that write it.

    If bytes of an earlier process turn out wrong (a power cut can lose what was written), all is fetched once more.
    """
    partial = Partial(staged, file.size_bytes)
    try:
        kept = partial.present_bytes()
        fetcher.progress.started(file.path, file.size_bytes, kept)
        digests = _fill(fetcher, file, partial)
        if kept and _expected(file).difference(digests) is not None:
            fetcher.progress.say(f"the unfinished {file.path} was damaged: fetching it again from the start")
            fetcher.progress.advanced(file.path, -file.size_bytes)
            partial.forget()
            kept, digests = 0, _fill(fetcher, file, partial)
        while _is_doubtful(fetcher, file, digests):
            partial.forget()
            kept, digests = 0, _fill(fetcher, file, partial)
        if _expected(file).difference(digests) is not None:
            partial.forget()
        _verify(fetcher, file, digests)
        fetcher.destination.accept(file, partial.move_to)
        fetcher.progress.finished(file.path)
        return file.size_bytes - kept
    finally:
        if partial.present_bytes() == 0:
            partial.discard()
        partial.close()


def _fill(fetcher: Fetcher, file: RemoteFile, partial: Partial) -> Digests:
    hasher = FollowingHasher(partial, with_git=file.sha256 is None)
    try:
        selection = fetcher.plan.selection
        Streams(
            bind(fetcher.opener.open_file, selection.repo_id, selection.commit, file.path),
            partial,
            hasher,
            name=file.path,
            slots=fetcher.slots,
            retries=fetcher.retries,
            stopping=fetcher.stopping,
            on_bytes=bind(fetcher.progress.advanced, file.path),
        ).fill()
        return hasher.finish()
    finally:
        hasher.abandon()


def _verify(fetcher: Fetcher, file: RemoteFile, digests: Digests) -> None:
    difference = _expected(file).difference(digests)
    if difference is None:
        return
    what, expected, actual = difference
    selection = fetcher.plan.selection
    raise HashMismatch(
        f"{what} mismatch: {selection.name} {printable(file.path)}: expected {expected}, got {actual}",
        hint="The bytes were removed. Run the pull again; if it repeats, the index has a bad copy: try another (-i).",
        repo_id=selection.repo_id,
        commit=selection.commit,
        path=file.path,
        expected=expected,
        actual=actual,
    )
