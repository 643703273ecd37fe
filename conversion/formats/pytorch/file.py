"""One PyTorch file: which of its three forms it has, its pickle read, and every storage found.

| form | written | what |
|---|---|---|
| zip | since 1.6 (2020) | see `archive.py` |
| legacy | since 0.1.10 | five pickles, then the storages |
| tar | before that | refused: `pt-tar` |

The legacy pickles are the magic number, 1001, the facts of the machine, the object, and a list of storage keys. After
them comes, for each key, a uint64 number of elements and the elements.

(torch/serialization.py: `_legacy_save`, `_save`.)
"""

from dataclasses import dataclass
from typing import Any

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.pytorch import archive, machine
from conversion.formats.pytorch.archive import Archive
from conversion.formats.pytorch.stream import MAX_PICKLE_BYTES, PickleStream
from conversion.formats.pytorch.views import Storage
from conversion.formats.source import ByteSource, read_exactly

LEGACY_NUMBER = 0x1950A86A20F9469CFC6C
LEGACY_MAGICS = tuple(
    bytes([0x80, protocol]) + frame + b"\x8a\x0a" + LEGACY_NUMBER.to_bytes(10, "little")
    for protocol in (2, 3, 4, 5)
    for frame in (b"", b"\x95\x0d" + bytes(7))
)
LEGACY_PROTOCOL = 1001
TAR_MAGIC, TAR_MAGIC_START = b"ustar", 257
MAX_SMALL_MEMBER_BYTES = 64
SNIFF_BYTES = TAR_MAGIC_START + len(TAR_MAGIC)


@dataclass(frozen=True)
class TorchFile:
    """The value of a file's pickle, and where each storage lies: key -> (first byte, length)."""

    value: Any
    places: dict[str, tuple[int, int]]


def is_pytorch(head: bytes) -> bool:
    """Whether a file that begins so (`SNIFF_BYTES` of it) was written by torch.save, in any of its forms."""
    return head.startswith((archive.MAGIC, *LEGACY_MAGICS)) or head[TAR_MAGIC_START:] == TAR_MAGIC


def read_file(source: ByteSource) -> TorchFile:
    """The file's value and the places of its storages, checked against its size; nothing of it is executed."""
    head = source.read(0, min(SNIFF_BYTES, source.size_bytes))
    if head.startswith(archive.MAGIC):
        return _read_zip(archive.open_archive(source))
    if head[TAR_MAGIC_START:] == TAR_MAGIC:
        raise HeaderError(
            "pt-tar", "a tar, as PyTorch wrote before 0.1.10 (2017); load and save it again in PyTorch"
        )
    if head.startswith(LEGACY_MAGICS):
        return _read_legacy(source)
    raise HeaderError(
        "pt-magic", f"the file starts with {quoted(head[:8])}: neither a zip nor a pickle of torch.save"
    )


def _read_zip(opened: Archive) -> TorchFile:
    if "data.pkl" not in opened.members:
        raise HeaderError("pt-zip-no-pickle", "a zip without data.pkl: it was not written by torch.save")
    if "constants.pkl" in opened.members or any(name.startswith("code/") for name in opened.members):
        raise HeaderError(
            "pt-torchscript", "a TorchScript program, not a checkpoint; save its state dict with torch.save"
        )
    opened.check_stored()
    if "byteorder" in opened.members:
        order = opened.read_small("byteorder", MAX_SMALL_MEMBER_BYTES)
        if order != b"little":
            raise HeaderError(
                "pt-big-endian", f"the byte order is {quoted(order)}; only little-endian files are read"
            )
    opened.read_small("data.pkl", MAX_PICKLE_BYTES)  # its CRC
    start, length = opened.locate("data.pkl")
    stream = PickleStream(opened.source, start, start + length)
    value, storages = machine.run(stream)
    if stream.position != stream.end:
        raise HeaderError(
            "pt-data-long", f"{stream.end - stream.position} bytes follow the end of the pickle"
        )
    return TorchFile(value, {key: _record(opened, storage) for key, storage in storages.items()})


def _record(opened: Archive, storage: Storage) -> tuple[int, int]:
    name = f"data/{storage.key}"
    if name not in opened.members:
        raise HeaderError(
            "pt-storage-missing", f"the pickle names storage {quoted(storage.key)}, the archive has none"
        )
    start, length = opened.locate(name)
    if length != storage.size_bytes:
        raise HeaderError(
            "pt-storage-size",
            f"storage {quoted(storage.key)} must have {storage.size_bytes} bytes, the archive has {length}",
        )
    return start, length


def _read_legacy(source: ByteSource) -> TorchFile:
    stream = PickleStream(source)
    number, protocol, machine_facts = (machine.run(stream)[0] for _ in range(3))
    if number != LEGACY_NUMBER or protocol != LEGACY_PROTOCOL or not isinstance(machine_facts, dict):
        raise HeaderError("pt-legacy", "the file begins like one of torch.save and goes on differently")
    if machine_facts.get("little_endian") is not True:
        raise HeaderError(
            "pt-big-endian", "the file was written on a big-endian machine; only little-endian is read"
        )
    value, storages = machine.run(stream)
    keys, _ = machine.run(stream)
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or set(keys) != set(storages)
    ):
        raise HeaderError(
            "pt-storage-missing", "the storages that follow are not those that the pickle names"
        )
    return TorchFile(value, _legacy_places(source, stream.position, keys, storages))


def _legacy_places(
    source: ByteSource, position: int, keys: list[str], storages: dict[str, Storage]
) -> dict[str, tuple[int, int]]:
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        storage = storages[key]
        count = read_exactly(source, position, 8, code="pt-truncated", what=f"storage {quoted(key)}")
        end = position + 8 + storage.size_bytes
        if key in places or int.from_bytes(count, "little") * storage.item_bytes != storage.size_bytes:
            raise HeaderError(
                "pt-storage-size", f"storage {quoted(key)} is there twice, or of another length than named"
            )
        if end > source.size_bytes:
            raise HeaderError(
                "pt-truncated", f"storage {quoted(key)} ends at {end}, the file at {source.size_bytes}"
            )
        places[key] = (position + 8, storage.size_bytes)
        position = end
    if position != source.size_bytes:
        raise HeaderError("pt-data-long", f"{source.size_bytes - position} bytes follow the last storage")
    return places
