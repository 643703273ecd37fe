"""Hash what lies in plain folders and remember it, so that a later pull links what is here instead of fetching it.

The memory is one small JSON file, `holdings.json` in the user's own cache folder (XDG_CACHE_HOME/holdfast):

    {"format_version": 1, "files": {"/models/a.gguf": [size, mtime in ns, inode, "<sha256>"]}}

An entry counts as long as size, time and inode are what they were, and even then whoever takes the file hashes it
again. Nothing is moved, linked or written in the folders themselves, and no symlink in them is followed.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.cache.installed import walk
from holdfast.cache.layout import write_atomically
from holdfast.fetching.hashing import hash_file
from holdfast.fetching.progress import Progress
from holdfast.sources.remote import SHA256

FORMAT_VERSION = 1
MIN_BYTES = 1 << 20  # smaller files are fetched sooner than found
Facts = tuple[int, int, int]  # size, mtime in ns, inode


@dataclass
class Adopted:
    """The index file: what is known of files by path."""

    files: dict[str, tuple[Facts, str]] = field(default_factory=dict)

    def by_digest(self) -> dict[str, list[Path]]:
        """The files that are still what they were."""
        found: dict[str, list[Path]] = {}
        for path, (facts, sha256) in self.files.items():
            if _facts(path) == facts:
                found.setdefault(sha256, []).append(Path(path))
        return found

    def digest_of(self, path: str) -> str | None:
        """The sha256 of a file that has not changed since it was hashed."""
        known = self.files.get(path)
        return known[1] if known is not None and known[0] == _facts(path) else None


@dataclass(frozen=True)
class Found:
    """A file of an adopted folder. `problem` says why it has no digest."""

    path: str
    size_bytes: int
    sha256: str | None
    is_new: bool = False
    problem: str | None = None


def index_path(environ: Mapping[str, str]) -> Path:
    """Where the memory is."""
    if environ.get("XDG_CACHE_HOME"):
        base = Path(environ["XDG_CACHE_HOME"]).expanduser()
    elif os.name == "nt" and environ.get("LOCALAPPDATA"):
        base = Path(environ["LOCALAPPDATA"])
    else:
        base = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return base / "holdfast" / "holdings.json"


def read_adopted(environ: Mapping[str, str]) -> Adopted:
    """What was remembered; nothing if there is no index, or it cannot be read."""
    try:
        kept = json.loads(index_path(environ).read_text(encoding="utf-8"))
        if kept["format_version"] != FORMAT_VERSION:
            return Adopted()
        return Adopted({str(path): _entry(entry) for path, entry in kept["files"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Adopted()


def write_adopted(adopted: Adopted, environ: Mapping[str, str]) -> None:
    """Afterwards the index holds these; files that are gone or have changed are left out."""
    files = {
        path: [*facts, sha256]
        for path, (facts, sha256) in sorted(adopted.files.items())
        if _facts(path) == facts
    }
    write_atomically(
        index_path(environ), json.dumps({"format_version": FORMAT_VERSION, "files": files}, indent=1)
    )


def list_folder(folder: Path) -> list[tuple[str, int]]:
    """(path, size) of every regular file that is worth it. Links are not followed."""
    return list(_worthwhile(folder))


def adopt(files: Sequence[tuple[str, int]], adopted: Adopted, progress: Progress) -> list[Found]:
    """Afterwards `adopted` knows these files; those that it knew and that have not changed are not read again."""
    return [_adopt_one(path, size, adopted, progress) for path, size in files]


def _adopt_one(path: str, size: int, adopted: Adopted, progress: Progress) -> Found:
    progress.started(path, size, 0)
    known = adopted.digest_of(path)
    if known is not None:
        progress.advanced(path, size)
        progress.finished(path)
        return Found(path, size, known)
    before = _facts(path)
    try:
        got = hash_file(Path(path), with_git=False, advance=lambda n: progress.advanced(path, n))
    except OSError as error:
        return Found(path, size, None, problem=error.strerror or str(error))
    finally:
        progress.finished(path)
    if before is None or before != _facts(path):
        return Found(path, size, None, problem="changed while it was read")
    adopted.files[path] = (before, got.sha256)
    return Found(path, size, got.sha256, is_new=True)


def _worthwhile(folder: Path) -> Iterator[tuple[str, int]]:
    for path in walk(os.path.realpath(folder)):
        facts = _facts(path)
        if facts is not None and facts[0] >= MIN_BYTES:
            yield path, facts[0]


def _facts(path: str) -> Facts | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _entry(entry: Any) -> tuple[Facts, str]:
    size, mtime_ns, inode, sha256 = entry
    if not SHA256.match(sha256):
        raise ValueError(sha256)
    return (int(size), int(mtime_ns), int(inode)), str(sha256)
