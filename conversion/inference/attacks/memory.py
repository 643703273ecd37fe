"""Taking all the memory."""

import ctypes
import mmap

from conversion.inference.attacks.common import TERABYTE
from conversion.inference.libc import LIBC, check


def map_a_terabyte(_: str) -> str:
    with mmap.mmap(-1, TERABYTE):
        return "1 TB of address space"


def fill_memory(_: str) -> str:
    kept: list[bytes] = []
    while len(kept) < 64:
        kept.append(bytes(64 * 2**20))
    return "4 GB of memory"


def keep_segments(_: str) -> str:
    """System V segments stay when nobody is attached, outside every limit of a process."""
    for _n in range(64):
        check(LIBC.shmget(0, ctypes.c_size_t(2**20), 0o1600))
    return "64 segments"
