"""What is free on each graphics card: NVIDIA's by `nvidia-smi`, AMD's by what the amdgpu driver writes to /sys.

A card that shares the memory of the machine has little of its own; what does not fit there is tried in the machine's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

SECONDS = 5.0
QUESTION = ("--query-gpu=memory.free", "--format=csv,noheader,nounits")


def read_gpus(environ: Mapping[str, str] | None = None, drm: Path = Path("/sys/class/drm")) -> list[int]:
    """Free bytes of each card that programs may use. Takes some 50 ms where there is an NVIDIA driver."""
    return _nvidia(os.environ if environ is None else environ) or amd_cards(drm)


def _nvidia(environ: Mapping[str, str]) -> list[int]:
    program = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, *QUESTION], capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return []
    lines = done.stdout[:100_000].decode("ascii", "replace").splitlines() if done.returncode == 0 else []
    cards = {n: int(line) << 20 for n, line in enumerate(lines) if line.strip().isdecimal()}
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return list(cards.values())
    numbers = [int(name) for name in visible.split(",") if name.strip().isdecimal()]
    return [cards[number] for number in numbers if number in cards]


def amd_cards(drm: Path) -> list[int]:
    """Free bytes of each card below the folder that the amdgpu driver looks after."""
    found = []
    for device in sorted(drm.glob("card[0-9]*/device")):
        total, used = (_number(device / f"mem_info_vram_{name}") for name in ("total", "used"))
        if total is not None and used is not None:
            found.append(max(total - used, 0))
    return found


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii", errors="replace")[:40].strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
