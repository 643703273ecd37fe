"""Weights of any container as safetensors: plain dtypes, in shards where they are large.

Tensors keep their names and shapes, or, made from a GGUF, get Hugging Face's again (`restoring`). Those that are F32,
F16, BF16 or F64 become the dtype asked for, or stay as they are where none is; whole numbers and booleans always stay.
What is quantised (GGUF's types, FP8) is dequantised: to the dtype asked for, or to F32, which holds every value
exactly. What the quantization lost does not come back, so such a file says in its metadata: `holdfast.dequantised_from`
names the types, and `holdfast.tensor_names` says whose names they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from conversion.formats.gguf.types import TYPE_BY_NAME
from conversion.formats.layout import FileLayout, TensorEntry
from conversion.formats.safetensors import DTYPE_BITS
from conversion.formats.safetensors_shards import MAX_SHARD_BYTES, METADATA, plan_checkpoint
from conversion.formats.weights import Weights
from conversion.naming.base import NamingError, Packed, Target
from conversion.naming.file_types import PLAIN
from conversion.quants import TYPES

FLOATS = (*PLAIN, "F64")
DEQUANTISED_FROM, TENSOR_NAMES = "holdfast.dequantised_from", "holdfast.tensor_names"


@dataclass(frozen=True)
class SafetensorsPlan:
    """One file to be: its layout, and what fills each entry, in the same order. `said`: what a person should know."""

    layout: FileLayout
    targets: tuple[Target, ...]
    imatrix: None = None
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedCheckpoint:
    """Files by name, and the bytes of the index, if there is one. `lost` names the types that were dequantised."""

    files: Mapping[str, SafetensorsPlan]
    index: bytes
    lost: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        return sum(plan.layout.size_bytes for plan in self.files.values()) + len(self.index)


def plan_safetensors(
    entries: Mapping[str, TensorEntry],
    dtype: str = "",
    *,
    targets: Sequence[Target] | None = None,
    tensor_names: str = "",
    unpacked_from: str = "",
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> PlannedCheckpoint:
    """`model.safetensors`, or shards and an index; `tensor_names` is noted where it is given.

    `unpacked_from` names the scheme of a quantised checkpoint whose tensors are only seen as plain ones.

    `targets` are the tensors to write, each with its `source` among the entries; every entry as it is where there are
    none. NamingError: `unreadable-type` for what nobody here can dequantise, `no-tensors` for nothing.
    """
    if not entries:
        raise NamingError("no-tensors", "the source holds no tensors: there is nothing to write.")
    wanted = [_as_it_is(entry) for entry in entries.values()] if targets is None else targets
    by_name = {target.name: target for target in wanted}
    sources = {target.name: entries[target.source] for target in wanted}
    lost = tuple(sorted({entry.dtype for entry in sources.values() if _is_quantised(entry.dtype)}))
    lost += (unpacked_from,) if unpacked_from else ()
    said = dict(METADATA)
    if lost:
        said[DEQUANTISED_FROM] = ", ".join(lost)
    if tensor_names:
        said[TENSOR_NAMES] = tensor_names
    planned = [(target.name, target.shape, _dtype(sources[target.name], dtype)) for target in wanted]
    layout = plan_checkpoint(planned, said, max_shard_bytes=max_shard_bytes)
    files = {
        path: SafetensorsPlan(
            one, tuple(_moved(by_name[entry.name], sources[entry.name], entry.dtype) for entry in one.entries)
        )
        for path, one in layout.files.items()
    }
    return PlannedCheckpoint(files, layout.index, lost)


def _is_quantised(dtype: str) -> bool:
    return dtype not in FLOATS and dtype in TYPE_BY_NAME and TYPE_BY_NAME[dtype].block_size > 1


def _dtype(entry: TensorEntry, wanted: str) -> str:
    """What a tensor becomes. Without a wish, FP8 and all else that safetensors can hold stay as they are."""
    if entry.dtype in FLOATS:
        return wanted or entry.dtype
    if entry.dtype in DTYPE_BITS and not (wanted and entry.dtype in TYPES):
        return entry.dtype
    if entry.dtype not in TYPES:
        raise NamingError(
            "unreadable-type", f"tensor {entry.name[:200]!r} is {entry.dtype}, which cannot be dequantised."
        )
    return wanted or "F32"


def _as_it_is(entry: TensorEntry) -> Target:
    return Target(entry.name, entry.shape, entry.name)


def _moved(target: Target, entry: TensorEntry, dtype: str) -> Target:
    """The target; its bytes are moved untouched where it is a tensor of that dtype already."""
    seen = replace(target, shape=target.shape or (1,))
    if dtype != entry.dtype or target.read is not None or target.arrange is not None:
        return seen

    def read(weights: Weights, first: int, count: int) -> bytes:
        return weights.read_rows(entry.name, first, count)

    return replace(seen, packed=Packed(dtype, read))
