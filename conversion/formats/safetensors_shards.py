"""Planning a checkpoint of several safetensors files and its index, before any tensor exists.

Files and index are those that `save_pretrained` of transformers writes for the same tensors in the same order.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from conversion.formats.layout import FileLayout
from conversion.formats.safetensors import DTYPE_BITS, plan_file, tensor_bytes
from conversion.formats.shards import SAFETENSORS

MAX_SHARD_BYTES = 5_000_000_000
"""Of tensor data in one file, unless the caller says otherwise; the limit that hub clients use."""

METADATA = {"format": "pt"}
"""Loaders that look for it refuse files without."""

Planned = tuple[str, Sequence[int], str]
"""(name, shape, safetensors dtype), as `plan_file` takes it."""


@dataclass(frozen=True)
class CheckpointLayout:
    """Files in order, name -> layout, and the index's bytes (none for a single file)."""

    files: Mapping[str, FileLayout]
    index: bytes = b""

    @property
    def size_bytes(self) -> int:
        """Bytes of all files with the index."""
        return sum(layout.size_bytes for layout in self.files.values()) + len(self.index)


def plan_checkpoint(
    tensors: Iterable[Planned],
    metadata: Mapping[str, str] | None = None,
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> CheckpointLayout:
    """`model.safetensors`, or shards and their index where the data takes more than `max_shard_bytes`.

    A shard ends before the tensor that would take its data beyond the limit. A tensor larger than the limit has a shard
    of its own, and those around it go on as if it were not there: the rule of the hub's client, to the letter. Write
    each file with `layout.stream_file`. ValueError as from `plan_file`.
    """
    said = dict(METADATA if metadata is None else metadata)
    groups = _grouped(tensors, max_shard_bytes)
    if len(groups) == 1:
        return CheckpointLayout({SAFETENSORS.single: plan_file(groups[0], said)})
    files: dict[str, FileLayout] = {}
    weight_map: dict[str, str] = {}
    for number, group in enumerate(groups, start=1):
        path = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        files[path] = plan_file(group, said)
        for name, _, _ in group:
            if name in weight_map:
                raise ValueError(f"tensor {name!r}: the name is taken")
            weight_map[name] = path
    total = sum(entry.length for layout in files.values() for entry in layout.entries)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    return CheckpointLayout(files, (json.dumps(index, indent=2, sort_keys=True) + "\n").encode())


def in_reference_order(tensors: Iterable[Planned]) -> list[Planned]:
    """The order in which the safetensors library writes one file: wide dtypes first, then by name."""
    ranks = {dtype: rank for rank, dtype in enumerate(DTYPE_BITS)}
    return sorted(tensors, key=lambda tensor: (-ranks[tensor[2]], tensor[0]))


def _grouped(tensors: Iterable[Planned], max_shard_bytes: int) -> list[list[Planned]]:
    groups: list[list[Planned]] = []
    group: list[Planned] = []
    size = 0
    for tensor in tensors:
        length = tensor_bytes(*tensor)
        if length > max_shard_bytes:
            groups.append([tensor])
            continue
        if size + length > max_shard_bytes:
            groups.append(group)
            group, size = [], 0
        group.append(tensor)
        size += length
    return [*groups, group] if group or not groups else groups
