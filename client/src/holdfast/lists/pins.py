"""What bytes must be, because somebody wrote it down: the `--hash` of a requirement, and --require-hashes.

A hash is the sha256 of one file. Once a requirement has any,

- every hash is that of a file of the selection (a stale one is an error),
- every file with weights has one of them,
- and under --require-hashes so has every other file.

What the listing tells is compared before anything is fetched. No listing tells the sha256 of files outside LFS: theirs
is compared when they arrive, before they get their name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from holdfast.choosing.selection import Selection
from holdfast.choosing.variants import is_weights
from holdfast.errors import HashMismatch, HashMissing, HoldfastError
from holdfast.fetching.destination import CacheDestination, Destination
from holdfast.fetching.hashing import hash_file
from holdfast.sources.remote import RemoteFile
from holdfast.text import printable


@dataclass(frozen=True)
class Pins:
    """The hashes of one requirement, and whether nothing may be without one. `place` is who says so."""

    hashes: tuple[str, ...] = ()
    required: bool = False
    place: str = ""


UNPINNED = Pins()


def pin(selection: Selection, pins: Pins) -> Selection:
    """The selection whose files know what they must be. Raises HashMismatch or HashMissing."""
    if not pins.hashes and not pins.required:
        return selection
    files = tuple(_pinned(file, selection.name, pins) for file in selection.files)
    _check_stale(files, selection.name, pins)
    return replace(selection, files=files)


def _pinned(file: RemoteFile, name: str, pins: Pins) -> RemoteFile:
    if file.sha256 in pins.hashes:
        return file
    must = pins.required or (bool(pins.hashes) and is_weights(file.path))
    if not must:
        return file
    if not pins.hashes:
        raise _unpinned(file, name)
    if file.sha256 is not None:
        raise _mismatch(name, file.path, pins.hashes, file.sha256, pins.place)
    return replace(file, pins=pins.hashes)


def _check_stale(files: Sequence[RemoteFile], name: str, pins: Pins) -> None:
    """Files outside LFS may still turn out to have the hashes that no listing tells."""
    stale = set(pins.hashes) - {file.sha256 for file in files}
    if stale and all(file.sha256 is not None for file in files):
        raise _stale(stale, name, pins.place)


def check_pins(files: Sequence[RemoteFile], destination: Destination, name: str, pins: Pins) -> None:
    """Raises HashMismatch unless the pinned files that no listing tells the sha256 of are right where they now lie.

    Called when all bytes are here and before any of them is published.
    """
    told = {file.sha256 for file in files}
    open_hashes = set(pins.hashes) - told
    small = [file for file in files if file.sha256 is None and (file.pins or open_hashes)]
    found = {
        file: _sha256_here([one for one in files if one.etag == file.etag], destination) for file in small
    }
    for file, sha256 in found.items():
        if file.pins and sha256 is not None and sha256 not in file.pins:
            raise _mismatch(name, file.path, file.pins, sha256, pins.place)
    stale = open_hashes - set(found.values())
    if stale:
        raise _stale(stale, name, pins.place)


def check_sums(pins: Pins, name: str, sums: Mapping[str, str]) -> None:
    """Raises HashMismatch unless these sha256 by path are what is pinned."""
    for path, sha256 in sums.items():
        if pins.hashes and sha256 not in pins.hashes and (pins.required or is_weights(path)):
            raise _mismatch(name, path, pins.hashes, sha256, pins.place)
    stale = set(pins.hashes) - set(sums.values())
    if stale:
        raise _stale(stale, name, pins.place)


def _sha256_here(equal: Sequence[RemoteFile], destination: Destination) -> str | None:
    """Of files that are one: in a plain folder all but one become copies only when they are published."""
    places = [destination.path_of(file) for file in equal]
    if isinstance(destination, CacheDestination):
        places.insert(0, destination.repo.blob_path(equal[0].etag))
    path = next((place for place in places if place.exists()), None)
    return None if path is None else hash_file(path, with_git=False).sha256


def _unpinned(file: RemoteFile, name: str) -> HashMissing:
    shown = (
        f"--hash sha256:{file.sha256}"
        if file.sha256
        else "holdfast lock, or holdfast freeze where it is here"
    )
    return HashMissing(
        f"{name} {printable(file.path)} has no hash, and --require-hashes wants one for every file",
        hint=f"Add it to the line in models.txt: {shown}" if file.sha256 else f"Find it with {shown}.",
        path=file.path,
        sha256=file.sha256,
    )


def _mismatch(name: str, path: str, pins: Sequence[str], actual: str, place: str) -> HoldfastError:
    expected = pins[0] if len(pins) == 1 else f"one of {len(pins)} hashes"
    return HashMismatch(
        f"{name} {printable(path)} has sha256 {actual}, but {place or 'its pin'} wants {expected}",
        hint="Nothing was published. Either the index has other bytes now, or the hash was never right.",
        path=path,
        expected=list(pins),
        actual=actual,
    )


def _stale(stale: Iterable[str], name: str, place: str) -> HashMismatch:
    hashes = sorted(stale)
    return HashMismatch(
        f"{name} has no file with a hash that {place or 'the requirement'} names: {', '.join(hashes[:3])}",
        hint="Remove what is stale, or name the revision that it belongs to.",
        expected=hashes,
    )
