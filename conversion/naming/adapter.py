"""A LoRA adapter as a GGUF that llama.cpp applies to a base model: `--lora FILE`.

Every pair becomes NAME.lora_a (r, n_in) and NAME.lora_b (n_out, r), NAME being the base's GGUF name. Where a family
puts a weight's rows in another order (Llama's q and k), lora_b's rows follow. (llama.cpp: convert_lora_to_gguf.py.)
Families that read a weight in other ways (transposed, split, stacked) cannot take an adapter on it; that is said by
name.
"""

import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import gguf
import yaml

from conversion.formats.gguf import Value, float32, plan_file
from conversion.formats.lora import Adapter, Pair
from conversion.naming import family_for
from conversion.naming.base import Config, Family, NamingError, Target
from conversion.naming.collecting import collected, new_collector
from conversion.naming.file_types import FileType
from conversion.naming.plan import Plan
from conversion.quants import type_by_name

FILE_TYPES = ("F32", "F16", "BF16", "Q8_0")
"""What an adapter may be stored as; smaller types are for whole models."""


def plan_adapter(adapter: Adapter, folder: Path, base_config: Config, file_type: FileType) -> Plan:
    """The GGUF adapter planned to its last byte; the adapter's own weights fill it. `folder` holds its README.md.

    Raises NamingError: `adapter-type`, `adapter-unsupported`, and what the base's family raises.
    """
    if file_type.name not in FILE_TYPES:
        raise NamingError("adapter-type", f"an adapter is {', '.join(FILE_TYPES)}, not {file_type.name}.")
    if adapter.fan_in_fan_out:
        raise NamingError("adapter-unsupported", "fan_in_fan_out: merge this adapter into its base instead.")
    family = family_for(base_config)
    targets = [part for target in _of_base(adapter, family, base_config) for part in _parts(adapter, target)]
    types = [_type_of(target, file_type) for target in targets]
    tensors = [(target.name, target.shape, kind) for target, kind in zip(targets, types, strict=True)]
    metadata = _metadata(adapter, family, folder)
    try:
        layout = plan_file(metadata, tensors)
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        raise NamingError("cannot-be-gguf", f"the adapter cannot be written: {str(error)[:300]}") from error
    return Plan(file_type, layout, tuple(targets), metadata=metadata)


def _of_base(adapter: Adapter, family: Family, base_config: Config) -> list[Target]:
    """What the family makes of each weight that the adapter changes, as if it were the base's."""
    entries = adapter.weights.entries
    shapes: dict[str, tuple[int, ...]] = {
        name: (entries[pair.b].shape[0], entries[pair.a].shape[1]) for name, pair in adapter.pairs.items()
    }
    shapes |= {name: entries[own].shape for name, own in adapter.replaced.items()}
    return [target for target in family.targets(base_config, shapes) if target.values is None]


def _parts(adapter: Adapter, target: Target) -> list[Target]:
    own = adapter.replaced.get(target.source)
    if own is not None and len(target.shape) == 1:
        return [replace(target, source=own)]
    pair = adapter.pairs.get(target.source)
    if pair is None or target.read is not None or target.packed is not None or pair.is_embedding:
        raise NamingError(
            "adapter-unsupported",
            f"tensor {target.origin[:200]!r} of the adapter has no place of its own in a GGUF adapter. Merge the "
            "adapter into its base instead.",
        )
    return _pair(adapter, target, pair)


def _pair(adapter: Adapter, target: Target, pair: Pair) -> list[Target]:
    a, b = adapter.weights.entries[pair.a], adapter.weights.entries[pair.b]
    if pair.scale * a.shape[0] != adapter.alpha:
        raise NamingError(
            "adapter-unsupported",
            f"{target.name} has a scale of its own, but a GGUF adapter has one alpha for all. Merge it instead.",
        )
    return [
        Target(f"{target.name}.lora_a", a.shape, pair.a),
        replace(target, name=f"{target.name}.lora_b", shape=b.shape, source=pair.b),
    ]


def _type_of(target: Target, file_type: FileType) -> str:
    if len(target.shape) < 2:
        return "F32"
    is_whole = target.n_cols % type_by_name(file_type.default).block_size == 0
    return file_type.default if is_whole else "F16"


def _metadata(adapter: Adapter, family: Family, folder: Path) -> Mapping[str, Value]:
    writer = new_collector(family.gguf_architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    try:
        metadata = gguf.Metadata.load(model_path=folder, total_params=0)
        metadata.name = metadata.name or folder.name
        metadata.set_gguf_meta_model(writer)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, yaml.YAMLError) as error:
        raise NamingError("bad-model-card", f"README.md cannot be read: {str(error)[:200]}") from error
    found = collected(writer)
    found[gguf.Keys.Adapter.LORA_ALPHA] = float32(adapter.alpha)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    return found | {key: value for key, value in collected(writer).items() if key not in found}
