"""How much memory a model may use on this machine, without any library for it.

| system  | read from                                                                                          |
|---------|----------------------------------------------------------------------------------------------------|
| Linux   | MemAvailable of /proc/meminfo, and what the memory limits of our cgroup and its parents leave      |
| macOS   | sysctl hw.memsize: three quarters of it, which is what Metal lets one program use                  |
| Windows | GlobalMemoryStatusEx: what is free                                                                 |
| graphics cards | gpus.py                                                                                     |

HOLDFAST_MEMORY says it instead of all of them. A number that cannot be read counts as unknown, never as an error.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.choosing.gpus import read_gpus
from holdfast.text import count

MAC_SHARE = (3, 4)
_MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Room:
    """One place that a model can be loaded into: so many bytes, and what a person calls it (`free on the GPU`)."""

    size_bytes: int
    words: str


def read_rooms(override_bytes: int | None) -> list[Room]:
    """The places of this machine, the fastest first; empty if nothing can be found out."""
    if override_bytes is not None:
        return [Room(override_bytes, "(HOLDFAST_MEMORY)")]
    gpus = read_gpus()
    rooms = [Room(sum(gpus), f"free on {'the GPU' if len(gpus) == 1 else count(len(gpus), 'GPU')}")]
    return (rooms if gpus else []) + _ram()


def _ram() -> list[Room]:
    if sys.platform == "darwin":
        return mac_room(_mac_memory())
    if sys.platform == "win32":
        return _windows_room()
    return linux_room(Path("/proc"), Path("/sys/fs/cgroup"))


def linux_room(proc: Path, cgroups: Path) -> list[Room]:
    """The smaller of what the machine has available and what our control group may still use."""
    lines = [line.split() for line in _read(proc / "meminfo").splitlines()]
    free = [int(line[1]) * 1024 for line in lines if line[:1] == ["MemAvailable:"] and line[1].isdecimal()]
    left = min(_cgroup_rooms(_read(proc / "self" / "cgroup"), cgroups), default=None)
    if left is not None and (not free or left < free[0]):
        return [Room(left, "left to this container")]
    return [Room(free[0], "free")] if free else []


def _cgroup_rooms(membership: str, root: Path) -> Iterator[int]:
    """What each limit above us leaves; file caches count as free, because the kernel drops them when asked."""
    for line in membership.splitlines():
        number, _colon, rest = line.partition(":")
        kinds, _colon, path = rest.partition(":")
        if number == "0" and kinds == "":
            base, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            base = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..", ".")]
        for depth in range(len(parts) + 1):
            room = _room_below(base.joinpath(*parts[:depth]), *names)
            if room is not None:
                yield room


def _room_below(folder: Path, limit_name: str, used_name: str, cache_name: str) -> int | None:
    limit, used = _read(folder / limit_name).strip(), _read(folder / used_name).strip()
    if not limit.isdecimal() or not used.isdecimal() or int(limit) >= 1 << 60:
        return None  # `max`, or version 1's number for no limit
    stats = dict(line.split(maxsplit=1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
    cached = stats.get(cache_name, "0").strip()
    return max(int(limit) - int(used) + (int(cached) if cached.isdecimal() else 0), 0)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError:
        return ""


def mac_room(total_bytes: int) -> list[Room]:
    """What Metal lets one program use of memory that processor and graphics share."""
    share, of = MAC_SHARE
    return [Room(total_bytes * share // of, "of this Mac's memory may be used")] if total_bytes else []


def _mac_memory() -> int:
    value, size = ctypes.c_uint64(0), ctypes.c_size_t(8)
    try:
        failed = ctypes.CDLL(None).sysctlbyname(
            b"hw.memsize", ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
        )
    except (OSError, AttributeError):
        return 0
    return 0 if failed else value.value


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        *((name, ctypes.c_uint64) for name in ("total", "free", "total_page", "free_page", "total_virtual")),
        ("free_virtual", ctypes.c_uint64),
        ("free_extended", ctypes.c_uint64),
    )


def _windows_room() -> list[Room]:
    status = _MemoryStatus()
    status.length = ctypes.sizeof(_MemoryStatus)
    library = getattr(ctypes, "windll", None)
    if library is None or not library.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return []
    return [Room(int(status.free), "free")]
