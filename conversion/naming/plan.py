"""A GGUF planned to its last byte from a checkpoint's names and shapes and the small files beside it."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf

from conversion.formats.checkpoint import Checkpoint
from conversion.formats.gguf import DEFAULT_ALIGNMENT, GgufLayout, Stored, Value, plan_file, string, uint32
from conversion.formats.imatrix import Imatrix
from conversion.formats.layout import TensorEntry
from conversion.naming import family_for
from conversion.naming.base import Config, Family, NamingError, Target
from conversion.naming.collecting import collected, new_collector
from conversion.naming.file_types import (
    PLAIN,
    Asked,
    FileType,
    choose_types,
    converter_types,
    first_without_imatrix,
    quantised_order,
)
from conversion.naming.general import describe_general
from conversion.naming.mixtures import EMBEDDING, ModelFacts, category_of
from conversion.naming.overrides import Overrides
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
    """The file to be: its layout, and what fills each entry, in the same order.

    `lacks` is a tensor, with its type, that llama-quantize makes with an imatrix or not at all, where there is none:
    such a plan can be shown, not carried out.
    """

    file_type: FileType
    layout: GgufLayout
    targets: tuple[Target, ...]
    imatrix: Imatrix | None = None
    lacks: tuple[str, str] | None = None


@dataclass(frozen=True)
class Wish:
    """A file type, and what a person asks beyond it.

    `pre_tokenizer` names a BPE tokenizer's pre-tokenizer, which is found where it is ""; `is_dry_run`: a plan to look
    at may lack its imatrix.
    """

    file_type: FileType
    overrides: Overrides = field(default_factory=Overrides)
    imatrix: Imatrix | None = None
    is_dry_run: bool = False
    pre_tokenizer: str = ""


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
    return _laid_out(metadata, targets, chosen, wish)


def facts_of(metadata: Mapping[str, Value]) -> ModelFacts:
    """What the rules for tensor types ask of a file with this metadata."""

    def get(key: str) -> Any:
        value = metadata[key].value if key in metadata else None
        return value.preview if isinstance(value, Stored) else value

    return ModelFacts.of(get)


def settle(metadata: dict[str, Value], targets: Sequence[Target], types: Sequence[str], wish: Wish) -> Plan:
    """The file as llama-quantize lays it out: its order of tensors, its last keys. `types` go with `targets`.

    The metadata gets the version of the quantization, the file type and where an imatrix came from, at its end.
    """
    by_name = {target.name: (target, kind) for target, kind in zip(targets, types, strict=True)}
    ordered = [by_name[name] for name in quantised_order(by_name)]
    for key in ("general.quantization_version", "general.file_type"):
        metadata.pop(key, None)
    metadata["general.quantization_version"] = uint32(gguf.GGML_QUANT_VERSION)
    metadata["general.file_type"] = uint32(wish.file_type.number)
    _describe_imatrix(metadata, wish.imatrix)
    return _laid_out(metadata, [target for target, _ in ordered], [kind for _, kind in ordered], wish)


def _laid_out(metadata: dict[str, Value], targets: Sequence[Target], types: list[str], wish: Wish) -> Plan:
    kinds = [
        target.packed.type_name if target.packed is not None else kind
        for target, kind in zip(targets, types, strict=True)
    ]
    lacks = _check_imatrix(targets, kinds, wish)
    tensors = [(target.name, target.shape, kind) for target, kind in zip(targets, kinds, strict=True)]
    alignment = metadata.get("general.alignment", uint32(DEFAULT_ALIGNMENT)).value
    try:
        layout = plan_file(metadata, tensors, alignment=alignment)
    except (ValueError, TypeError, AttributeError, struct.error) as error:
        # A card or tokenizer may put a number where a text belongs, or half a surrogate pair into one.
        raise NamingError("cannot-be-gguf", f"the metadata cannot be written: {str(error)[:300]}") from error
    return Plan(wish.file_type, layout, tuple(targets), wish.imatrix, lacks)


def _check_imatrix(targets: Sequence[Target], types: list[str], wish: Wish) -> tuple[str, str] | None:
    """Raises NamingError `imatrix-size` for an entry that does not fit its tensor, and `imatrix-required`."""
    made = [(target, kind) for target, kind in zip(targets, types, strict=True) if target.packed is None]
    entries = wish.imatrix.entries if wish.imatrix is not None else {}
    covered = {
        target.name for target, _ in made if wish.imatrix and wish.imatrix.fits(target.name, target.shape)
    }
    for target, kind in made:
        # An embedding is looked up, not multiplied: llama-quantize lets its size pass.
        is_exempt = target.name in covered or kind in PLAIN or category_of(target.name) == EMBEDDING
        if target.name in entries and not is_exempt:
            raise NamingError(
                "imatrix-size",
                f"the imatrix has {entries[target.name].n_values} values for {target.name} of shape {target.shape}: "
                "it was made for another model. Use the imatrix of this one.",
            )
    open_ones = [(target.name, kind) for target, kind in made if target.name not in covered]
    lacks = first_without_imatrix(open_ones, wish.file_type)
    if lacks is not None and not wish.is_dry_run:
        raise NamingError(
            "imatrix-required",
            f"{wish.file_type.name} needs an importance matrix with {lacks[0]}, which becomes {lacks[1]}; without one "
            "the result is garbage, and llama-quantize refuses it too. Give an imatrix, or choose a larger file type.",
        )
    return lacks


def _describe_imatrix(metadata: dict[str, Value], imatrix: Imatrix | None) -> None:
    """As llama-quantize says it: the name of the file and of the first calibration text, cut to 127 bytes."""
    if imatrix is None:
        return
    for key in ("file", "dataset", "entries_count", "chunks_count"):
        metadata.pop(f"quantize.imatrix.{key}", None)
    metadata["quantize.imatrix.file"] = string(_cut(imatrix.file))
    if imatrix.datasets:
        metadata["quantize.imatrix.dataset"] = string(_cut(imatrix.datasets[0]))
    metadata["quantize.imatrix.entries_count"] = uint32(len(imatrix.entries))
    if imatrix.n_chunks > 0:
        metadata["quantize.imatrix.chunks_count"] = uint32(imatrix.n_chunks)


def _cut(text: str) -> str:
    return text.encode("utf-8", "surrogateescape")[:127].decode("utf-8", "surrogateescape")


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
    config: Config, family: Family, folder: Path, targets: list[Target], wish: Wish
) -> dict[str, Value]:
    writer = new_collector(family.gguf_architecture, wish.pre_tokenizer)
    if family.describe_first is not None:
        family.describe_first(config, writer)
    describe_general(folder, targets, writer)
    family.describe(config, wish.file_type.number, writer)
    if family.describe_files is not None:
        family.describe_files(config, folder, writer)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    (family.vocabulary or describe_vocabulary)(config, folder, writer)
    return collected(writer)
