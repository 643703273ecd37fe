"""A file tree of its own: a tiny root in memory that holds nothing but what the process needs, read-only.

Every other path is not forbidden but absent: /etc, /home, /proc, the store, the database. Needs an own mount
namespace, and to be its root. Kernel 5.12 or newer (`mount_setattr`); older ones grant no view, and landlock
stands alone.

| where | what | how |
|---|---|---|
| `readable` | the same files and folders | clones of their mounts, read-only |
| `artifact` | the same | as well; nothing in it can be executed |
| `scratch` | an empty folder | memory, at most `SCRATCH_BYTES` in `SCRATCH_FILES` files |
| all else | the folders that lead there | read-only |
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from conversion.inference.libc import LIBC, check

SCRATCH_BYTES, SCRATCH_FILES = 16 * 2**20, 256
"""torch puts one small file there. It is memory, and no limit of a process counts it, so it is little."""

_BASE = "/usr"
"""Where the new root is mounted before it becomes the root: any folder that every system has."""

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same number on every architecture
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE, _CLONE, _FROM_DESCRIPTOR = -100, 0x1000, 0x8000, 1, 4
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 2, 4, 8, 0x4000, 1 << 18, 2


def enter_view(artifact: Iterable[str], readable: Iterable[str], scratch: str) -> bool:
    """True: only `artifact`, `readable` and `scratch` exist for this process, at the same paths as before.

    False: the kernel or the container does not grant it, and nothing has changed.
    """
    clones: dict[str, int] = {}
    try:
        check(LIBC.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
        clones = {path: _clone(path) for path in readable}
        clones |= {path: _clone(path, _NOEXEC) for path in artifact}
        _mount_memory(_BASE, "size=256k,nr_inodes=1k,mode=755")
    except OSError:
        _close(clones)
        return False
    try:
        _furnish(clones, scratch)
        _make_root()
    except OSError:
        LIBC.umount2(_BASE.encode(), _MNT_DETACH)
        return False
    finally:
        _close(clones)
    return True


def _clone(path: str, more: int = 0) -> int:
    """A descriptor of a mount of `path` alone that is nowhere yet, read-only."""
    how = _CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    descriptor = check(LIBC.syscall(_OPEN_TREE, _AT_FDCWD, path.encode(), how))
    device = stat.S_ISCHR(os.fstat(descriptor).st_mode)
    _set(descriptor, "", _AT_EMPTY_PATH | _AT_RECURSIVE, _RDONLY | _NOSUID | more | (0 if device else _NODEV))
    return descriptor


def _set(descriptor: int, path: str, how: int, attributes: int) -> None:
    structure = struct.pack("QQQQ", attributes, 0, 0, 0)
    size = ctypes.c_size_t(len(structure))
    check(LIBC.syscall(_MOUNT_SETATTR, descriptor, path.encode(), how, structure, size))


def _mount_memory(path: str, options: str) -> None:
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    check(LIBC.mount(b"tmpfs", path.encode(), b"tmpfs", flags, options.encode()))


def _furnish(clones: dict[str, int], scratch: str) -> None:
    for path in sorted(clones, key=len):  # a folder before what lies in it
        target, descriptor = Path(_BASE + path), clones[path]
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.touch()
        place = str(target).encode()
        check(LIBC.syscall(_MOVE_MOUNT, descriptor, b"", _AT_FDCWD, place, _FROM_DESCRIPTOR))
    if scratch:
        Path(_BASE + scratch).mkdir(parents=True, exist_ok=True)
        _mount_memory(_BASE + scratch, f"size={SCRATCH_BYTES},nr_inodes={SCRATCH_FILES},mode=777")


def _make_root() -> None:
    """pivot_root(2), "pivot_root(".", ".")": the old root is under the new one and is let go at once."""
    os.chdir(_BASE)
    check(LIBC.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."))
    check(LIBC.umount2(b".", _MNT_DETACH))
    os.chdir("/")
    _set(_AT_FDCWD, "/", 0, _RDONLY)


def _close(clones: dict[str, int]) -> None:
    for descriptor in clones.values():
        os.close(descriptor)
