"""A GGUF made from a GGUF, as llama-quantize does it: metadata copied, tensors in its order and of its types.

(llama.cpp 82bb48500: llama_model_quantize_impl.) A tensor whose type does not change is moved byte by byte. From a
file that is not quantised the whole file is llama-quantize's, byte for byte. Quantised tensors are only quantised anew
where that is allowed in so many words: what the first rounding lost does not come back. Such a file says so in
`holdfast.requantised_from`, the one key that llama-quantize would not write.
"""

from collections.abc import Mapping

from conversion.formats.gguf import Value, string
from conversion.formats.layout import TensorEntry
from conversion.formats.weights import Weights
from conversion.naming.base import NamingError, Packed, Target
from conversion.naming.file_types import PLAIN, Asked, choose_types
from conversion.naming.settling import Plan, Wish, facts_of, settle
from conversion.quants import TYPES

MARK = "holdfast.requantised_from"
OF_A_SPLIT = ("split.no", "split.count", "split.tensors.count")


def plan_requantised(
    entries: Mapping[str, TensorEntry],
    metadata: Mapping[str, Value],
    wish: Wish,
    *,
    allow_requantize: bool = False,
) -> Plan:
    """The plan for a GGUF with these tensors and this metadata, all shards of a split file together.

    Raises NamingError: `requantising-not-allowed` for a quantised tensor that would be quantised anew,
    `unreadable-type` for one that cannot be dequantised, and what `choose_types` and `settle` raise.
    """
    asked = [Asked(entry.name, entry.shape, entry.dtype) for entry in entries.values()]
    if not asked:
        raise NamingError(
            "no-tensors", "the GGUF holds no tensors (a vocabulary, perhaps): nothing to quantise."
        )
    has_imatrix = wish.imatrix is not None
    types = choose_types(asked, wish.file_type, facts_of(metadata), wish.overrides, has_imatrix=has_imatrix)
    targets = [_target(tensor, kind) for tensor, kind in zip(asked, types, strict=True)]
    anew = {
        tensor.type_name: tensor.name
        for tensor, target in zip(asked, targets, strict=True)
        if target.packed is None and tensor.type_name not in PLAIN
    }
    _check_sources(anew, allow_requantize=allow_requantize)
    kept = {key: value for key, value in metadata.items() if key not in {*OF_A_SPLIT, MARK}}
    if anew:
        kept[MARK] = string(", ".join(sorted(anew)))
    return settle(kept, targets, types, wish)


def _target(tensor: Asked, kind: str) -> Target:
    if kind != tensor.type_name:
        return Target(tensor.name, tensor.shape, tensor.name)

    def read(weights: Weights, first: int, count: int) -> bytes:
        return weights.read_rows(tensor.name, first, count)

    return Target(tensor.name, tensor.shape, tensor.name, packed=Packed(kind, read))


def _check_sources(anew: Mapping[str, str], *, allow_requantize: bool) -> None:
    """`anew`: the types of tensors that will be dequantised and quantised again, each with a tensor of it."""
    for kind, name in anew.items():
        if kind not in TYPES:
            raise NamingError(
                "unreadable-type", f"tensor {name} is {kind}, which cannot be dequantised, only kept."
            )
        if not allow_requantize:
            raise NamingError(
                "requantising-not-allowed",
                f"tensor {name} is {kind} already, and quantising it again loses more than quantising once. Convert "
                "from the original weights, or allow it with --allow-requantize.",
            )
