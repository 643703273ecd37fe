"""One blob's header -> its Header and Tensor rows. Read once per blob, however many commits share it.

A header that is refused leaves a Header row with the reason; the file stays preserved and served. Refused blobs are
read again by every inspection: a later program may know a dtype that this one does not.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction

from conversion.formats import gguf, llama2c, pytorch, safetensors
from conversion.formats.errors import HeaderError
from conversion.formats.gguf import MetadataValue, ValueType
from conversion.formats.layout import TensorEntry
from conversion.formats.opening import LLAMA2C, PYTORCH, kind_of
from conversion.formats.source import ByteSource, RangeSource
from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from registry.card import jsonable
from registry.models import Blob, Header, Tensor
from registry.work import Lease

Metadata = Mapping[str, str | MetadataValue]


def _read_safetensors(source: ByteSource) -> tuple[tuple[TensorEntry, ...], Metadata]:
    header = safetensors.read_header(source)
    return header.entries, header.metadata


def _read_gguf(source: ByteSource) -> tuple[tuple[TensorEntry, ...], Metadata]:
    header = gguf.read_header(source)
    return header.entries, header.metadata


def _read_pytorch(source: ByteSource) -> tuple[tuple[TensorEntry, ...], Metadata]:
    return pytorch.read_entries(source), {}


def _read_llama2c(source: ByteSource) -> tuple[tuple[TensorEntry, ...], Metadata]:
    header = llama2c.read_header(source)
    return llama2c.read_entries(source), {"llama2c.version": str(header.version)}


READERS: dict[str, Callable[[ByteSource], tuple[tuple[TensorEntry, ...], Metadata]]] = {
    "safetensors": _read_safetensors,
    "gguf": _read_gguf,
    "pytorch": _read_pytorch,
    "llama2c": _read_llama2c,
}
NAMED = {".safetensors": "safetensors", ".gguf": "gguf", ".pt": "pytorch", ".pth": "pytorch"}
"""Endings that mean one format, whatever the bytes are: what is not one is a refused header."""

UNNAMED = (".bin", ".ckpt")
"""Endings that anything may have; the first bytes decide, and most such files have no header."""

KINDS = {PYTORCH: "pytorch", LLAMA2C: "llama2c"}
PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
ROWS_PER_INSERT = 2_000
MAX_METADATA_CHARACTERS = 1_000_000
"""Of one header, as JSON in its row; what is beyond is left out and said to be."""

MAX_TEXT_CHARACTERS = 65_536
LEFT_OUT = "holdfast.left_out"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a header said: its tensors and metadata, or why it was refused."""

    format: str
    entries: tuple[TensorEntry, ...] = ()
    metadata: dict[str, Any] | None = None
    refused: HeaderError | None = None


def may_have_header(path: str) -> bool:
    """Whether a file of this name may hold tensors; what trainers save beside them does not."""
    name = path.rpartition("/")[2]
    return path.lower().endswith((*NAMED, *UNNAMED)) and not name.startswith(pytorch.NOT_WEIGHTS)


def format_of(path: str, source: ByteSource) -> str | None:
    """The format whose header the file should have, by its name or else by its first bytes; None for neither.

    A few small reads. A llama2.c checkpoint may have any ending that PyTorch's have.
    """
    if not may_have_header(path):
        return None
    named = next((name for ending, name in NAMED.items() if path.lower().endswith(ending)), None)
    if named in ("safetensors", "gguf"):
        return named
    found = KINDS.get(kind_of(path, source) or "")
    is_pickle = source.read(0, min(2, source.size_bytes)) in PICKLES
    return found or ("pytorch" if is_pickle else named)


def blob_source(store: BlobStore, blob: Blob) -> ByteSource:
    """The blob as a source of byte ranges, wherever and however it is stored."""
    return RangeSource(blob.size_bytes, partial(store.read, blob_key(blob.sha256)))


def inspect_blob(lease: Lease, store: BlobStore, blob: Blob, format_name: str) -> Header:
    """The blob's header is in the catalog. Idempotent; reads nothing when it was read before and not refused."""
    present = Header.objects.filter(blob=blob).first()
    if present and not present.error_code:
        return present
    reading = read_blob(blob_source(store, blob), format_name)
    with transaction.atomic():
        lease.guard()
        # Two commits that share the blob may be inspected at once: the second one finds the work done.
        Blob.objects.select_for_update().get(pk=blob.pk)
        present = Header.objects.filter(blob=blob).first()
        if present and not present.error_code:
            return present
        return _record(blob, reading)


def read_blob(source: ByteSource, format_name: str) -> Reading:
    """What the header says, or why it was refused; errors of the store pass through."""
    try:
        entries, metadata = READERS[format_name](source)
    except HeaderError as refused:
        return Reading(format_name, refused=refused)
    return Reading(format_name, entries, summarised(metadata))


def summarised(metadata: Metadata) -> dict[str, Any]:
    """Metadata as JSON of bounded size: long arrays as type, length and first few, long texts cut."""
    kept: dict[str, Any] = {}
    room, n_left_out = MAX_METADATA_CHARACTERS, 0
    for key, value in metadata.items():
        plain = _plain(value)
        room -= len(key) + len(json.dumps(plain))
        if room < 0:
            n_left_out += 1
        else:
            kept[str(jsonable(key))] = plain
    return kept | ({LEFT_OUT: n_left_out} if n_left_out else {})


def _plain(value: str | MetadataValue) -> Any:
    if isinstance(value, str):
        return _cut(value)
    if value.type is ValueType.ARRAY and value.element_type is not None:
        kind, first = value.element_type.name.lower(), [_cut(item, 200) for item in value.preview]
        return {"type": kind, "length": value.length, "first": first}
    return _cut(value.preview)


def _cut(value: Any, most: int = MAX_TEXT_CHARACTERS) -> Any:
    value = jsonable(value)
    return value[:most] + "…" if isinstance(value, str) and len(value) > most else value


def _record(blob: Blob, reading: Reading) -> Header:
    refused = reading.refused
    header, _ = Header.objects.update_or_create(
        blob=blob,
        defaults={
            "format": reading.format,
            "n_tensors": len(reading.entries),
            "parameter_count": sum(entry.n_elements for entry in reading.entries),
            "metadata": reading.metadata or {},
            "error_code": refused.code if refused else "",
            "error_message": str(refused) if refused else "",
        },
    )
    Tensor.objects.bulk_create(
        (
            Tensor(
                blob=blob, position=position, name=entry.name, dtype=entry.dtype, shape=list(entry.shape),
                start=entry.start, length=entry.length,
            )
            for position, entry in enumerate(reading.entries)
        ),
        batch_size=ROWS_PER_INSERT,
    )  # fmt: skip
    return header
