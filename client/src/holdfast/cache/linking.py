"""Bytes that are on this machine already, under a second name without a second copy where the disk can.

| way      | bytes on disk | what an edit of the one does to the other             |
|----------|---------------|--------------------------------------------------------|
| reflink  | once          | nothing: blocks are shared until one side writes       |
| hardlink | once          | **changes it too**: it is one file with two names      |
| copy     | twice         | nothing                                                |

A reflink is Linux's FICLONE (ioctl_ficlonerange(2): Btrfs, XFS, bcachefs, NFS 4.2) or macOS's clonefile(2) (APFS).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

REFLINK, HARDLINK, COPY = "reflink", "hardlink", "copy"
LINK_MODES = (REFLINK, HARDLINK, COPY)
_FICLONE = 0x40049409

if sys.platform == "linux":
    import fcntl

    def _reflink(source: Path, target: Path) -> None:
        with source.open("rb") as there, target.open("xb") as here:
            fcntl.ioctl(here.fileno(), _FICLONE, there.fileno())
elif sys.platform == "darwin":
    import ctypes

    def _reflink(source: Path, target: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.clonefile(os.fsencode(source), os.fsencode(target), 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(target))
else:

    def _reflink(source: Path, target: Path) -> None:
        raise NotImplementedError("no reflinks here")


def _hardlink(source: Path, target: Path) -> None:
    os.link(os.path.realpath(source), target)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


_WAYS: dict[str, Callable[[Path, Path], None]] = {REFLINK: _reflink, HARDLINK: _hardlink, COPY: _copy}


def bring(source: Path, target: Path, ways: Sequence[str]) -> str | None:
    """Afterwards `target` shows the bytes of `source`, by the first of the ways that works, which is returned; or
    None and there is no target. What was at `target` is gone either way: a link left there by a killed process is
    never written through. An error of a copy (a full disk) is raised.
    """
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    if not os.access(source, os.R_OK):
        return None  # some systems would let us link what we may not read
    for way in ways:
        try:
            _WAYS[way](source, target)
        except (OSError, NotImplementedError):
            with contextlib.suppress(FileNotFoundError):
                target.unlink()
            if way == COPY and source.exists():
                raise  # a full disk, for example
        else:
            return way
    return None
