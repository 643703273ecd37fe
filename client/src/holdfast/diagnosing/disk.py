"""The cache and its disk: room, rights, and what kinds of links and names the disk knows."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from holdfast.cache.installed import installed
from holdfast.cache.linking import HARDLINK, REFLINK, bring
from holdfast.cache.locks import locked
from holdfast.diagnosing import FAIL, OK, WARN, Finding
from holdfast.settings import Settings
from holdfast.text import count, format_bytes, printable

LITTLE_BYTES = 10_000_000_000
TOO_LITTLE_BYTES = 100_000_000


def check(settings: Settings) -> Iterator[Finding]:
    """The cache's folder need not exist yet: then the nearest folder above it is looked at."""
    yield _cache(settings)
    folder = next(path for path in (settings.cache_dir, *settings.cache_dir.parents) if path.is_dir())
    yield _space(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".holdfast-doctor-", dir=folder) as scratch:
            yield from _abilities(Path(scratch), settings)
    except OSError as error:
        yield Finding(
            "writable", FAIL, f"{printable(folder)} cannot be written: {error.strerror or error}",
            "Give this user write access, or choose another folder with --cache-dir.",
        )  # fmt: skip


def _cache(settings: Settings) -> Finding:
    above = next(path for path in (settings.cache_dir, *settings.cache_dir.parents) if path.exists())
    if not above.is_dir():
        words = f"{printable(above)} is a file, so {printable(settings.cache_dir)} cannot be a folder"
        return Finding("cache", FAIL, words, "Choose another folder with --cache-dir.")
    if not settings.cache_dir.is_dir():
        return Finding("cache", OK, f"{printable(settings.cache_dir)}: not there yet")
    snapshots = list(installed(settings.cache_dir))
    repos = {snapshot.repo.repo_id for snapshot in snapshots}
    broken = sum(len(snapshot.broken) for snapshot in snapshots)
    text = f"{printable(settings.cache_dir)}: {count(len(repos), 'repo')}"
    if broken:
        return Finding("cache", WARN, f"{text}, {count(broken, 'broken link')}", "holdfast check names them.")
    return Finding("cache", OK, text)


def _space(folder: Path) -> Finding:
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return Finding("space", WARN, f"the disk does not tell: {error.strerror or error}")
    verdict = OK if usage.free >= LITTLE_BYTES else WARN if usage.free >= TOO_LITTLE_BYTES else FAIL
    hint = "" if verdict == OK else "Make room, or choose another folder with --cache-dir."
    return Finding("space", verdict, f"{format_bytes(usage.free)} of {format_bytes(usage.total)} free", hint)


def _abilities(scratch: Path, settings: Settings) -> Iterator[Finding]:
    yield Finding("writable", OK, f"{printable(scratch.parent)}")
    blob = scratch / "blob"
    blob.write_bytes(b"x")
    symlinks = _works(lambda: (scratch / "symlink").symlink_to(blob))
    kinds = {
        "symlinks": symlinks,
        "hard links": bring(blob, scratch / "hard", (HARDLINK,)) is not None,
        "reflinks": bring(blob, scratch / "clone", (REFLINK,)) is not None,
    }
    yield _links(kinds, settings)
    yield _names(scratch)
    yield _locks(scratch)


def _links(kinds: dict[str, bool], settings: Settings) -> Finding:
    known = ", ".join(f"{name} {'yes' if works else 'no'}" for name, works in kinds.items())
    if kinds["symlinks"] and settings.symlinks:
        return Finding("links", OK, known)
    why = "" if settings.symlinks else " (HF_HUB_DISABLE_SYMLINKS is set)"
    if kinds["hard links"]:
        return Finding("links", OK, f"{known}{why}: snapshots hold hard links")
    hint = "Choose a --cache-dir on a disk with links, or allow this user to make symlinks."
    return Finding("links", WARN, f"{known}{why}: snapshots hold copies, which take twice the room", hint)


def _names(scratch: Path) -> Finding:
    (scratch / "Case").write_bytes(b"")
    folds = (scratch / "case").exists()
    long_names = _works(lambda: (scratch / ("n" * 200)).write_bytes(b""))
    case = "differ by case too" if not folds else "do not differ by case: such repos are refused"
    if not long_names:
        return Finding(
            "names", WARN, f"names {case}; names of 200 characters do not work", "Choose another disk."
        )
    return Finding("names", OK, f"names {case}")


def _locks(scratch: Path) -> Finding:
    try:
        with locked(scratch / "lock", on_wait=lambda: None):
            return Finding("locks", OK, "one process at a time fetches a file")
    except OSError as error:
        return Finding(
            "locks", WARN, f"no file locks here: {error.strerror or error}", "Run one pull at a time."
        )


def _works(act: Callable[[], object]) -> bool:
    with contextlib.suppress(OSError, NotImplementedError):
        act()
        return True
    return False


def is_same_folder(one: Path, other: Path) -> bool:
    """Whether both names mean one folder, whether it exists or not."""
    return os.path.realpath(one) == os.path.realpath(other)
