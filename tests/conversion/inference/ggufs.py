"""GGUF files for tests: the sample family converted by our own pure core, and copies with one thing wrong."""

import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

from conversion.formats.checkpoint import open_checkpoint
from conversion.formats.gguf import GgufHeader, read_header
from conversion.formats.source import FileSource
from conversion.naming.file_types import file_type_by_name
from conversion.naming.plan import plan_gguf
from conversion.naming.slabs import file_pieces

SAMPLES = Path(__file__).resolve().parents[3] / "deploy/samples/tinyfamily"
BASE = SAMPLES / "base-f32"
NAN_F16 = struct.pack("<H", 0x7E00)


def convert(folder: Path, type_name: str, path: Path) -> Path:
    """The checkpoint in `folder` as a GGUF of that type at `path`; nothing is there if it fails."""
    part = path.with_suffix(".part")
    with FileSource(folder / "model.safetensors") as source:
        checkpoint = open_checkpoint({"model.safetensors": source})
        plan = plan_gguf(checkpoint.entries, folder, file_type_by_name(type_name))
        with part.open("wb") as file:
            file.writelines(piece.data for piece in file_pieces(plan, checkpoint))
    return part.rename(path)


def header_of(path: Path) -> GgufHeader:
    with FileSource(path) as source:
        return read_header(source)


def patched(original: Path, path: Path, changes: Mapping[int, bytes]) -> Path:
    """A copy with other bytes at some offsets."""
    shutil.copyfile(original, path)
    with path.open("r+b") as file:
        for offset, data in changes.items():
            file.seek(offset)
            file.write(data)
    return path


def with_metadata(original: Path, path: Path, key: str, value: int) -> Path:
    """A copy whose uint32 metadata `key` has another value."""
    return patched(original, path, {header_of(original).metadata[key].start: struct.pack("<I", value)})


def with_zeros(original: Path, path: Path, prefix: str) -> Path:
    """A copy in which every tensor whose name begins with `prefix` holds zeros."""
    entries = [entry for entry in header_of(original).entries if entry.name.startswith(prefix)]
    return patched(original, path, {entry.start: bytes(entry.length) for entry in entries})


def with_nan(original: Path, path: Path, tensor: str) -> Path:
    """A copy of a Q8_0 file in which the first scale of one tensor is NaN."""
    start = next(entry.start for entry in header_of(original).entries if entry.name == tensor)
    return patched(original, path, {start: NAN_F16})
