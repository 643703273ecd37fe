"""Changing anything, and filling what everybody shares."""

import os
from contextlib import suppress
from pathlib import Path

from conversion.inference.attacks.common import ENOUGH_BYTES, TERABYTE, Nothing


def write(path: str) -> str:
    with Path(path).open("r+b") as file:
        return f"wrote {file.write(b'x')} byte"


def truncate(path: str) -> str:
    os.truncate(path, 0)
    return "truncated"


def make_writable(path: str) -> str:
    Path(path).chmod(0o666)
    return "changed its mode"


def remove(path: str) -> str:
    Path(path).unlink()
    return "removed"


def rename(path: str) -> str:
    Path(path).rename(path + "-renamed")
    return "renamed"


def create(folder: str) -> str:
    with Path(folder, "planted-by-the-probe").open("xb") as file:
        return f"wrote {file.write(b'x')} byte"


def write_a_terabyte(folder: str) -> str:
    """First at once and sparse, then as many files as there can be."""
    folder = folder or os.environ["TMPDIR"]
    with suppress(OSError), Path(folder, "sparse").open("wb") as file:
        file.truncate(TERABYTE)
        return "one file of 1 TB"
    written, piece = 0, bytes(2**20)
    for number in range(ENOUGH_BYTES // len(piece)):
        with Path(folder, f"piece-{number}").open("wb") as file:
            written += file.write(piece)
    return f"{written:,} bytes in many files"


def keep_memory_files(_: str) -> str:
    """Memory that no address space holds: files in memory, each filled and kept open."""
    kept: list[int] = []
    piece = bytes(2**20)
    while len(kept) * len(piece) < ENOUGH_BYTES:
        kept.append(os.memfd_create("kept"))
        os.write(kept[-1], piece)
    return f"{len(kept)} files in memory"


def flood_errors(_: str) -> str:
    written, piece = 0, b"x" * 2**16
    while written < ENOUGH_BYTES:
        written += os.write(2, piece)
    return f"{written:,} bytes of last words"


def grow_shared(_: str) -> str:
    for number in range(3, 64):
        with suppress(OSError):
            os.ftruncate(number, TERABYTE)
            return "1 TB of shared memory"
    raise Nothing("sealed")
