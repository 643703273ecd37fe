"""A GGUF planned to its last byte from a checkpoint's names and shapes and the small files beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.gguf import Value
from conversion.formats.layout import TensorEntry
from conversion.naming import family_for
from conversion.naming.base import Config, Family, NamingError, Target
from conversion.naming.collecting import collected, new_collector
from conversion.naming.file_types import Asked, FileType, choose_types, converter_types
from conversion.naming.general import describe_general
from conversion.naming.renaming import BUFFERS
from conversion.naming.settling import QUANTIZATION_VERSION, Plan, Wish, facts_of, laid_out, settle
from conversion.naming.vocabulary import describe_vocabulary

__all__ = ["SIDE_FILES", "Plan", "Wish", "in_reference_order", "parse_config", "plan_gguf", "read_config"]

MAX_CONFIG_BYTES = 10_000_000
READABLE = ("F32", "F16", "BF16", "F64")

SIDE_FILES = (
    "config.json", "generation_config.json", "README.md", "tokenizer.model", "tokenizer.json", "tekken.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", "vocab.json",
    "chat_template.json", "chat_template.jinja", "sentencepiece.bpe.model", "modules.json", "1_Pooling/config.json",
)  # fmt: skip
"""What is read beside the weights. `general.name` comes from the name of the folder they lie in."""


def plan_gguf(
    entries: Mapping[str, TensorEntry], folder: Path, wanted: FileType | Wish, *, is_unpacked: bool = False
) -> Plan:
    """The plan for a checkpoint with these tensors and the SIDE_FILES in `folder`.

    `is_unpacked` says that the config's quantization_config is undone already: the entries are plain tensors.
    A file that is not quantised keeps the order of the entries; see `in_reference_order`.

    The same input gives the same plan, byte for byte. Raises NamingError for whatever cannot be converted.
    """
    wish = wanted if isinstance(wanted, Wish) else Wish(wanted)
    config = read_config(folder)
    family = family_for(config)
    _check_weights(config, family, entries, is_unpacked=is_unpacked)
    targets = family.targets(config, {name: entry.shape for name, entry in entries.items()})
    _check_names(targets)
    metadata = _metadata(config, family, folder, targets, wish)
    asked = [Asked(target.name, target.shape) for target in targets]
    if wish.file_type.quantised:
        facts = facts_of(metadata)
        has_imatrix = wish.imatrix is not None
        chosen = choose_types(asked, wish.file_type, facts, wish.overrides, has_imatrix=has_imatrix)
        return settle(metadata, targets, chosen, wish)
    types = converter_types(asked, wish.file_type)
    kept = [family.keep_f32 is not None and family.keep_f32(target) for target in targets]
    chosen = ["F32" if is_kept else kind for kind, is_kept in zip(types, kept, strict=True)]
    return laid_out(metadata, targets, chosen, wish)


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
    return parse_config(path.read_bytes())


def parse_config(data: bytes) -> dict[str, Any]:
    """A config.json's bytes as a dict; NamingError `bad-config` if they are too many or no object."""
    if len(data) > MAX_CONFIG_BYTES:
        raise NamingError("bad-config", f"config.json is longer than {MAX_CONFIG_BYTES} bytes.")
    try:
        config = json.loads(data)
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
        if entry.dtype not in READABLE and not entry.name.endswith(BUFFERS):
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
    config: Config, family: Family, folder: Path, targets: list[Target], wish: Wish
) -> dict[str, Value]:
    writer = new_collector(family.gguf_architecture, wish.pre_tokenizer)
    if family.describe_first is not None:
        family.describe_first(config, writer)
    describe_general(folder, targets, writer)
    family.describe(config, wish.file_type.number, writer)
    if family.describe_files is not None:
        family.describe_files(config, folder, writer)
    writer.add_quantization_version(QUANTIZATION_VERSION)
    (family.vocabulary or describe_vocabulary)(config, folder, writer)
    return collected(writer)
