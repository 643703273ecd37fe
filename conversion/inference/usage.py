"""What a process has taken of the machine so far, as Linux counts it."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
UTIME, STIME = 11, 12
"""Fields of /proc/PID/stat after the name in brackets (proc_pid_stat(5): 14 and 15)."""


@dataclass(frozen=True)
class Usage:
    """CPU seconds of all its threads, to a hundredth, and the most memory that it had resident."""

    cpu_seconds: float = 0.0
    peak_bytes: int = 0


def usage_of(pid: int) -> Usage:
    """Zeros where the process is gone or the system has no /proc."""
    folder = Path(f"/proc/{pid}")
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        lines = (folder / "status").read_text().splitlines()
    except OSError:
        return Usage()
    peak = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
    return Usage((int(fields[UTIME]) + int(fields[STIME])) / TICKS, peak)
