"""A whole checkpoint planned: safetensors, one file or shards, and the small files that a loader wants beside them.

A GGUF gets Hugging Face's names, config.json and tokenizer back where its architecture is one that `restoring` knows;
otherwise its tensors keep GGUF's names, and that is said.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.formats.gguf.weights import GgufWeights
from conversion.formats.llama2c import Llama2cWeights
from conversion.formats.lora import MergedWeights
from conversion.formats.packed import unpack
from conversion.formats.safetensors_shards import MAX_SHARD_BYTES
from conversion.formats.weights import Weights
from conversion.naming.base import NamingError
from conversion.naming.to_safetensors import PlannedCheckpoint, plan_safetensors

if TYPE_CHECKING:
    from conversion.naming.restoring import Restored

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
TORCH_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
GGUF_NAMES, HUGGING_FACE_NAMES = "gguf", "transformers"


@dataclass(frozen=True)
class CheckpointPlan:
    """`planned` is filled from `weights`; `small` lies beside it, the index of shards included.

    `said` tells what a person should know of it: names that were kept, files that could not be restored.
    """

    planned: PlannedCheckpoint
    weights: Weights = field(repr=False)
    small: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    said: tuple[str, ...] = ()


def plan_checkpoint(
    weights: Weights,
    folder: Path,
    dtype: str = "",
    *,
    keep_names: bool = False,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> CheckpointPlan:
    """The checkpoint that these weights, with the SIDE_FILES in `folder`, become; packed ones are unpacked.

    `keep_names` leaves a GGUF's tensors under GGUF's names. Raises NamingError and HeaderError.
    """
    if isinstance(weights, GgufWeights):
        return _of_gguf(weights, dtype, keep_names=keep_names, max_shard_bytes=max_shard_bytes)
    side = _side_files(weights, folder)
    config = _read_config(side)
    plain = weights if isinstance(weights, MergedWeights) else unpack(weights, config)
    scheme = config.get("quantization_config")
    method = str(scheme.get("quant_method"))[:40] if isinstance(scheme, Mapping) else ""
    planned = plan_safetensors(plain.entries, dtype, unpacked_from=method, max_shard_bytes=max_shard_bytes)
    small = side | _changed_config(config, dtype) if config else {}
    return CheckpointPlan(planned, plain, small | _index(planned))


def _of_gguf(weights: GgufWeights, dtype: str, *, keep_names: bool, max_shard_bytes: int) -> CheckpointPlan:
    found, why = (None, "") if keep_names else _restored(weights)
    planned = plan_safetensors(
        weights.entries, dtype, targets=found.targets if found else None,
        tensor_names=HUGGING_FACE_NAMES if found else GGUF_NAMES, max_shard_bytes=max_shard_bytes,
    )  # fmt: skip
    if found is None:
        return CheckpointPlan(planned, weights, _index(planned), (why,) if why else ())
    config = {**_read_config(found.files), "torch_dtype": TORCH_NAMES[dtype or _widest(planned)]}
    small = {**found.files, CONFIG: _json(config)} | _index(planned)
    return CheckpointPlan(planned, weights, small, found.lost)


def _restored(weights: GgufWeights) -> "tuple[Restored | None, str]":
    """The checkpoint that the GGUF was, or None and why not."""
    from conversion.naming.restoring import restored

    try:
        return restored(weights), ""
    except NamingError as error:
        return None, f"{error.code}: {error.message}"


def _widest(planned: PlannedCheckpoint) -> str:
    """The dtype that holds every value of the matrices: most of a GGUF in F16 has norms in F32."""
    found = {
        entry.dtype
        for plan in planned.files.values()
        for entry in plan.layout.entries
        if len(entry.shape) > 1
    }
    return found.pop() if len(found) == 1 and found <= TORCH_NAMES.keys() else "F32"


def _side_files(weights: Weights, folder: Path) -> dict[str, bytes]:
    from conversion.naming.plan import SIDE_FILES

    if isinstance(weights, Llama2cWeights):
        return dict(weights.side_files)
    return {name: (folder / name).read_bytes() for name in SIDE_FILES if (folder / name).is_file()}


def _read_config(side: Mapping[str, bytes]) -> dict[str, Any]:
    """config.json among the files; {} if there is none."""
    from conversion.naming.plan import parse_config

    return parse_config(side[CONFIG]) if CONFIG in side else {}


def _changed_config(config: Mapping[str, Any], dtype: str) -> dict[str, bytes]:
    """config.json where it changes: it no longer speaks of a packing that is undone, nor of another dtype."""
    changed = {key: value for key, value in config.items() if key != "quantization_config"}
    for key in {"dtype", "torch_dtype"} & changed.keys():
        changed[key] = TORCH_NAMES.get(dtype, changed[key])
    return {CONFIG: _json(changed)} if changed != config else {}


def _index(planned: PlannedCheckpoint) -> dict[str, bytes]:
    return {INDEX: planned.index} if planned.index else {}


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
