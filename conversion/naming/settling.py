"""What all planned GGUFs have in common: the wish, the plan, and what llama-quantize does last."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from conversion.formats.gguf import DEFAULT_ALIGNMENT, GgufLayout, Stored, Value, plan_file, string, uint32
from conversion.formats.imatrix import Imatrix
from conversion.naming.base import NamingError, Target
from conversion.naming.file_types import PLAIN, FileType, first_without_imatrix, quantised_order
from conversion.naming.kept import n_dimensions
from conversion.naming.mixtures import EMBEDDING, ModelFacts, category_of
from conversion.naming.overrides import Overrides

QUANTIZATION_VERSION = 2
"""ggml.h: GGML_QNT_VERSION."""


@dataclass(frozen=True)
class Plan:
    """The file to be: its layout, what fills each entry, in the same order, and the metadata in its header.

    `lacks` is a tensor, with its type, that llama-quantize makes with an imatrix or not at all, where there is none:
    such a plan can be shown, not carried out.
    """

    file_type: FileType
    layout: GgufLayout
    targets: tuple[Target, ...]
    imatrix: Imatrix | None = None
    lacks: tuple[str, str] | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict, repr=False)


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


def facts_of(metadata: Mapping[str, Value]) -> ModelFacts:
    """What the rules for tensor types ask of a file with this metadata."""

    def get(key: str) -> Any:
        value = metadata[key].value if key in metadata else None
        return value.preview if isinstance(value, Stored) else value

    return ModelFacts.of(get)


def settle(metadata: dict[str, Value], targets: Sequence[Target], types: Sequence[str], wish: Wish) -> Plan:
    """The file as llama-quantize lays it out: its order of tensors, its last keys. `types` go with `targets`.

    ggml counts dimensions from the last that is not 1, so that a tensor (1, 64) is written as one of 64.
    The metadata gets the version of the quantization, the file type and where an imatrix came from, at its end.
    """
    shaped = [replace(target, shape=target.shape[-n_dimensions(target.shape) :]) for target in targets]
    by_name = {target.name: (target, kind) for target, kind in zip(shaped, types, strict=True)}
    ordered = [by_name[name] for name in quantised_order(by_name)]
    for key in ("general.quantization_version", "general.file_type"):
        metadata.pop(key, None)
    metadata["general.quantization_version"] = uint32(QUANTIZATION_VERSION)
    metadata["general.file_type"] = uint32(wish.file_type.number)
    _describe_imatrix(metadata, wish.imatrix)
    return laid_out(metadata, [target for target, _ in ordered], [kind for _, kind in ordered], wish)


def laid_out(metadata: dict[str, Value], targets: Sequence[Target], types: list[str], wish: Wish) -> Plan:
    """The plan of a file with this metadata and these targets, in this order."""
    kinds = [
        target.packed.type_name if target.packed is not None else kind
        for target, kind in zip(targets, types, strict=True)
    ]
    lacks = _check_imatrix(targets, kinds, wish)
    tensors = [(target.name, target.shape, kind) for target, kind in zip(targets, kinds, strict=True)]
    alignment = metadata.get("general.alignment", uint32(DEFAULT_ALIGNMENT)).value
    try:
        layout = plan_file(metadata, tensors, alignment=alignment)
    except (ValueError, TypeError, AttributeError, OverflowError, struct.error) as error:
        # A card or tokenizer may put a number where a text belongs, or half a surrogate pair into one.
        raise NamingError("cannot-be-gguf", f"the metadata cannot be written: {str(error)[:300]}") from error
    return Plan(wish.file_type, layout, tuple(targets), wish.imatrix, lacks, metadata)


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
