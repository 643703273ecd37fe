"""Digests of files: sha256, and git's name for content.

git names the content of a file `sha1("blob " + length + NUL + bytes)`. The Hub lists sha256 for LFS files and the git
name for the others, so one of the two is always known before the bytes arrive.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Digests:
    """What the bytes turned out to be."""

    size_bytes: int
    sha256: str
    git_oid: str | None


@dataclass(frozen=True)
class Expected:
    """What the bytes must be. At least one digest is known; all that are known must agree."""

    size_bytes: int
    sha256: str | None
    git_oid: str | None  # of the content; never of an LFS pointer
    pins: tuple[str, ...] = ()  # the sha256 that are allowed; empty: any

    def difference(self, got: Digests) -> tuple[str, str, str] | None:
        """The first disagreement as (what, expected, got), or None if everything known agrees."""
        if got.size_bytes != self.size_bytes:
            return "size", f"{self.size_bytes} bytes", f"{got.size_bytes} bytes"
        if self.sha256 is not None and got.sha256 != self.sha256:
            return "sha256", self.sha256, got.sha256
        if self.git_oid is not None and got.git_oid != self.git_oid:
            return "git oid", self.git_oid, str(got.git_oid)
        if self.pins and got.sha256 not in self.pins:
            one = self.pins[0] if len(self.pins) == 1 else f"one of {len(self.pins)} pinned"
            return "sha256", one, got.sha256
        return None


class Hasher:
    """Hashes bytes front to back; git's digest too if asked, which needs the size beforehand."""

    def __init__(self, *, git_size: int | None = None) -> None:
        self.size_bytes = 0
        self._sha256 = hashlib.sha256()
        self._git = None if git_size is None else hashlib.sha1(b"blob %d\0" % git_size, usedforsecurity=False)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes."""
        self._sha256.update(data)
        if self._git is not None:
            self._git.update(data)
        self.size_bytes += len(data)

    def digests(self) -> Digests:
        """Of everything taken so far."""
        return Digests(
            self.size_bytes, self._sha256.hexdigest(), self._git.hexdigest() if self._git else None
        )


def hash_file(path: Path, *, with_git: bool, advance: Callable[[int], None] | None = None) -> Digests:
    """The digests of the file as it lies on disk; `advance` hears of every piece read. Memory: one MiB.

    Hashing is not using: where the system allows it, the file's atime stays, by which the cache knows what is used.
    """
    size = path.stat().st_size
    hasher = Hasher(git_size=size if with_git else None)
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0, opener=_open_unnoticed) as file:
        while n := file.readinto(buffer):
            hasher.update(view[:n])
            if advance is not None:
                advance(n)
    return hasher.digests()


def _open_unnoticed(path: str, flags: int) -> int:
    """Linux refuses O_NOATIME for other people's files."""
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:
        return os.open(path, flags)
