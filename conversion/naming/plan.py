"""A GGUF planned to its last byte from a checkpoint's names and shapes and the small files beside it."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.gguf import GgufLayout, Value, plan_file
from conversion.formats.layout import TensorEntry
from conversion.naming import family_for
from conversion.naming.base import Config, Family, NamingError, Target
from conversion.naming.collecting import collected, new_collector
from conversion.naming.file_types import FileType, choose_types, quantised_order
from conversion.naming.general import describe_general
from conversion.naming.vocabulary import describe_vocabulary

MAX_CONFIG_BYTES = 10_000_000
READABLE = ("F32", "F16", "BF16", "F64")

SIDE_FILES = (
    "config.json", "generation_config.json", "README.md", "tokenizer.model", "tokenizer.json", "tekken.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", "vocab.json",
    "chat_template.json", "chat_template.jinja",
)  # fmt: skip
"""What is read beside the weights. `general.name` comes from the name of the folder they lie in."""


@dataclass(frozen=True)
class Plan:
    """The file to be: its layout, and what fills each entry, in the same order."""

    file_type: FileType
    layout: GgufLayout
    targets: tuple[Target, ...]


def plan_gguf(
    entries: Mapping[str, TensorEntry], folder: Path, file_type: FileType, *, is_unpacked: bool = False
) -> Plan:
    """The plan for a checkpoint with these tensors and the SIDE_FILES in `folder`.

    `is_unpacked` says that the config's quantization_config is undone already: the entries are plain tensors.
    A file that is not quantised keeps the order of the entries; see `in_reference_order`.

    The same input gives the same plan, byte for byte. Raises NamingError for whatever cannot be converted.
    """
    config = read_config(folder)
    family = family_for(config)
    _check_weights(config, family, entries, is_unpacked=is_unpacked)
    targets = family.targets(config, {name: entry.shape for name, entry in entries.items()})
    _check_names(targets)
    metadata = _metadata(config, family, folder, targets, file_type)
    if file_type.quantised:
        by_name = {target.name: target for target in targets}
        targets = [by_name[name] for name in quantised_order(by_name)]
    types = choose_types([(target.name, target.shape) for target in targets], file_type)
    tensors = [
        (target.name, target.shape, _type_of(target, kind, family))
        for target, kind in zip(targets, types, strict=True)
    ]
    try:
        layout = plan_file(metadata, tensors)
    except (ValueError, TypeError, AttributeError, struct.error) as error:
        # A card or tokenizer may put a number where a text belongs, or half a surrogate pair into one.
        raise NamingError("cannot-be-gguf", f"the metadata cannot be written: {str(error)[:300]}") from error
    return Plan(file_type, layout, tuple(targets))


def _type_of(target: Target, chosen: str, family: Family) -> str:
    if target.packed is not None:
        return target.packed.type_name
    return "F32" if family.keep_f32 is not None and family.keep_f32(target) else chosen


def in_reference_order(checkpoint: Checkpoint) -> dict[str, TensorEntry]:
    """The checkpoint's tensors as the reference converter meets them: file by file, in each by name."""
    order = sorted(checkpoint.entries, key=lambda name: (checkpoint.path_of[name], name))
    return {name: checkpoint.entries[name] for name in order}


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as a dict; NamingError `bad-config` if it is absent, too long or not an object."""
    path = folder / "config.json"
    if not path.is_file():
        raise NamingError("bad-config", "the checkpoint has no config.json, so its architecture is unknown.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise NamingError("bad-config", f"config.json is longer than {MAX_CONFIG_BYTES} bytes.")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise NamingError("bad-config", f"config.json is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise NamingError("bad-config", "config.json is not an object.")
    return config


def _check_weights(
    config: Config, family: Family, entries: Mapping[str, TensorEntry], *, is_unpacked: bool
) -> None:
    scheme = config.get("quantization_config")
    method = scheme.get("quant_method") if isinstance(scheme, dict) else None
    if scheme and method in family.unpacks:
        return
    if scheme and not is_unpacked:
        raise NamingError(
            "quantised-checkpoint",
            f"config.json has a quantization_config ({str(method)[:60]}): these weights are already quantised and "
            "cannot be converted yet. Convert the checkpoint they were made from.",
        )
    for entry in entries.values():
        if entry.dtype not in READABLE:
            raise NamingError(
                "unsupported-dtype",
                f"tensor {entry.name[:200]!r} is {entry.dtype}; only {', '.join(READABLE)} can be converted yet.",
            )


def _check_names(targets: list[Target]) -> None:
    seen: dict[str, str] = {}
    for target in targets:
        if target.name in seen:
            raise NamingError(
                "bad-tensor",
                f"tensors {seen[target.name][:100]!r} and {target.origin[:100]!r} would both become {target.name}.",
            )
        seen[target.name] = target.origin
        if 0 in target.shape or not target.shape:
            raise NamingError(
                "bad-tensor", f"tensor {target.origin[:200]!r} of shape {target.shape} has no values."
            )


def _metadata(
    config: Config, family: Family, folder: Path, targets: list[Target], file_type: FileType
) -> dict[str, Value]:
    writer = new_collector(family.gguf_architecture)
    describe_general(folder, targets, writer)
    family.describe(config, file_type.number, writer)
    if family.describe_files is not None:
        family.describe_files(folder, writer)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    (family.vocabulary or describe_vocabulary)(config, folder, writer)
    metadata = collected(writer)
    if file_type.quantised:
        # llama-quantize copies every key and appends these two.
        for key in ("general.quantization_version", "general.file_type"):
            metadata[key] = metadata.pop(key)
    return metadata
