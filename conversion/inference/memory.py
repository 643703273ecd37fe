"""How much memory a worker may use: what the machine has free, or less where a container says so."""

import os
from pathlib import Path

_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
"""cgroup 2 and 1, as seen from inside a container; other cgroups' limits are not ours to see."""

SHARE = 0.8
"""The rest is for this process, and for whoever else is there."""


def available_memory() -> int:
    """Bytes that engines may take together."""
    found = [_free(), *(limit for path in _LIMITS if (limit := _limit(Path(path))))]
    return int(min(found) * SHARE)


def _free() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024


def _limit(path: Path) -> int:
    """0 where there is none."""
    try:
        text = path.read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0
