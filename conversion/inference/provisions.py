"""What a child is given: the files of the artifact, memory that it shares with us, and limits by their size."""

import fcntl
import os
import tempfile
from pathlib import Path

from conversion.inference.confine import GIB, MIB, Limits
from conversion.inference.subjects import SHARD


def limits_for(size_bytes: int, engine: str = "llama.cpp") -> Limits:
    """What judging a file of this size may take: its memory and time on a slow, busy machine."""
    is_torch = engine.startswith("transformers")
    base = 16 * GIB if is_torch else 2 * GIB  # torch maps several GB that it never touches
    seconds = 600 + size_bytes // (2 * MIB)
    return Limits(base + size_bytes * (4 if is_torch else 2), int(seconds), float(seconds))


def sealed_file(size_bytes: int) -> int:
    """A descriptor of `size_bytes` zeros that can neither grow nor shrink where the kernel can seal it."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, size_bytes)
        return descriptor
    descriptor = os.memfd_create("holdfast", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(descriptor, size_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return descriptor


def needed_files(path: Path) -> list[Path]:
    """Everything of the artifact: the path itself, all shards of a split GGUF, what the links in a folder point to."""
    if path.is_dir():
        targets = (file.resolve() for file in path.iterdir() if file.is_symlink())
        return [path, *sorted({file for file in targets if file.is_file()})]
    if found := SHARD.fullmatch(path.name):
        return sorted(path.parent.glob(f"{found[1]}-*-of-*{found[2]}"))
    return [path]


def size_of(path: Path) -> int:
    """Bytes of the artifact: of a shard all shards, of a folder its files."""
    files = path.iterdir() if path.is_dir() else needed_files(path)
    return sum(file.stat().st_size for file in files if file.is_file())
