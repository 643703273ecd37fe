"""File types: what a GGUF of one name (Q4_K_M, Q8_0, F16, …) holds, tensor by tensor.

F32, F16 and BF16 of a checkpoint follow the reference converter, everything else llama-quantize (both llama.cpp
82bb48500). A new file type is one line in `FILE_TYPES`. Decided in this order:

1. Left alone: see `kept`. A checkpoint's tensors count as F32, those of a GGUF have the type they have.
2. What a person demands: see `overrides`.
3. The file type's own type, as its mixture varies it: see `mixtures`.
4. A type whose blocks do not divide the rows is replaced by one with smaller blocks, or by F16; where there is none,
   there is no file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conversion.formats.gguf import TYPE_BY_NAME
from conversion.naming.base import NamingError
from conversion.naming.kept import is_always_f32, is_left_alone
from conversion.naming.mixtures import (
    BY_NAME,
    EMBEDDING,
    OUTPUT,
    Mixture,
    ModelFacts,
    V,
    category_of,
    layer_of,
)
from conversion.naming.overrides import Overrides

RULES = "llama.cpp-82bb48500/1"
"""Named in every recipe: a change of these rules is a change of every artifact."""

PLAIN = ("F32", "F16", "BF16")
SMALLER_BLOCKS = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_K", "Q3_K", "TQ1_0", "TQ2_0", "Q2_0"), "Q4_0"),
    "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip
NEED_IMATRIX = ("IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S")


@dataclass(frozen=True)
class FileType:
    """`number` is general.file_type (llama.h: enum llama_ftype); `default` is the type most of its tensors have."""

    name: str
    number: int
    default: str

    @property
    def quantised(self) -> bool:
        """Whether such a file is laid out by llama-quantize, and not by the converter."""
        return self.default not in PLAIN


@dataclass(frozen=True, slots=True)
class Asked:
    """A tensor whose type is asked for: GGUF name, row-major shape, and its type as it is (F32 in a checkpoint)."""

    name: str
    shape: tuple[int, ...]
    type_name: str = "F32"


FILE_TYPES: dict[str, FileType] = {
    name: FileType(name, number, default)
    for name, number, default in (
        ("F32", 0, "F32"), ("F16", 1, "F16"), ("BF16", 32, "BF16"), ("Q8_0", 7, "Q8_0"), ("Q6_K", 18, "Q6_K"),
        ("Q5_K_M", 17, "Q5_K"), ("Q5_K_S", 16, "Q5_K"), ("Q5_1", 9, "Q5_1"), ("Q5_0", 8, "Q5_0"),
        ("Q4_K_M", 15, "Q4_K"), ("Q4_K_S", 14, "Q4_K"), ("Q4_1", 3, "Q4_1"), ("Q4_0", 2, "Q4_0"),
        ("IQ4_NL", 25, "IQ4_NL"), ("IQ4_XS", 30, "IQ4_XS"), ("MXFP4_MOE", 38, "MXFP4"), ("Q3_K_L", 13, "Q3_K"),
        ("Q3_K_M", 12, "Q3_K"), ("Q3_K_S", 11, "Q3_K"), ("IQ3_M", 27, "IQ3_S"), ("IQ3_S", 26, "IQ3_S"),
        ("IQ3_XS", 22, "IQ3_S"), ("IQ3_XXS", 23, "IQ3_XXS"), ("Q2_K", 10, "Q2_K"), ("Q2_K_S", 21, "Q2_K"),
        ("IQ2_M", 29, "IQ2_S"), ("IQ2_S", 28, "IQ2_XS"), ("IQ2_XS", 20, "IQ2_XS"), ("IQ2_XXS", 19, "IQ2_XXS"),
        ("Q2_0", 41, "Q2_0"), ("TQ2_0", 37, "TQ2_0"), ("TQ1_0", 36, "TQ1_0"), ("IQ1_M", 31, "IQ1_M"),
        ("IQ1_S", 24, "IQ1_S"), ("Q1_0", 40, "Q1_0"),
    )
}  # fmt: skip
"""In order of size, so that whoever lists them lists them so."""

ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}


def file_type_by_name(name: str) -> FileType:
    """The file type of that name, in any case; NamingError `unknown-file-type` lists what there is."""
    kind = FILE_TYPES.get(ALIASES.get(name.upper(), name.upper()))
    if kind is None:
        raise NamingError("unknown-file-type", f"{name[:60]!r} is not one of {', '.join(FILE_TYPES)}.")
    return kind


def converter_types(tensors: Sequence[Asked], file_type: FileType) -> list[str]:
    """The types the reference converter gives a checkpoint's tensors in an F32, F16 or BF16 file."""
    return ["F32" if is_always_f32(tensor.name, tensor.shape) else file_type.default for tensor in tensors]


def choose_types(
    tensors: Sequence[Asked],
    file_type: FileType,
    model: ModelFacts | None = None,
    overrides: Overrides | None = None,
    *,
    has_imatrix: bool = False,
) -> list[str]:
    """The type llama-quantize gives each tensor of one whole file, in the order given.

    Raises NamingError `row-not-divisible`, naming the tensor, where llama-quantize refuses the file. What would need
    an imatrix is chosen all the same: see `first_without_imatrix`.
    """
    demands = overrides or Overrides()
    mixture = Mixture(
        file_type.name, file_type.default, model or ModelFacts(),
        n_values=sum(category_of(tensor.name) == V for tensor in tensors),
        is_tied=all(tensor.name != "output.weight" for tensor in tensors),
        has_imatrix=has_imatrix, output_type=demands.output, embedding_type=demands.token_embedding,
    )  # fmt: skip
    by_name = {tensor.name: tensor for tensor in tensors}
    chosen = {name: _choose(by_name[name], file_type, mixture, demands) for name in quantised_order(by_name)}
    return [chosen[tensor.name] for tensor in tensors]


def first_without_imatrix(tensors: Sequence[tuple[str, str]], file_type: FileType) -> tuple[str, str] | None:
    """The first (name, type) that llama-quantize refuses to make without an imatrix, or None."""
    for name, kind in tensors:
        if name not in BY_NAME and (kind in NEED_IMATRIX or (kind == "Q2_K" and file_type.name == "Q2_K_S")):
            return name, kind
    return None


def quantised_order(names: Iterable[str]) -> list[str]:
    """As llama-quantize writes tensors: those of no layer first, then layer by layer, each by name."""
    return sorted(names, key=lambda name: (layer_of(name), name))


def _choose(tensor: Asked, file_type: FileType, mixture: Mixture, demands: Overrides) -> str:
    if is_left_alone(tensor.name, tensor.shape, leave_output=demands.leave_output):
        return tensor.type_name
    category, named = category_of(tensor.name), demands.named_type(tensor.name)
    if (
        category == EMBEDDING
        and demands.token_embedding
        and not (named and tensor.name.startswith("per_layer_"))
    ):
        return _fitting(tensor, demands.token_embedding, file_type, may_replace=False)
    if category == OUTPUT and demands.output:
        return _fitting(tensor, demands.output, file_type, may_replace=False)
    if not file_type.quantised:
        return file_type.default
    if not named and not demands.pure:
        named = mixture.choose(tensor.name, tensor.shape, TYPE_BY_NAME[file_type.default].block_size)
    return _fitting(tensor, named or file_type.default, file_type)


def _fitting(tensor: Asked, wanted: str, file_type: FileType, *, may_replace: bool = True) -> str:
    n_cols = tensor.shape[-1]
    if n_cols % TYPE_BY_NAME[wanted].block_size == 0:
        return wanted
    if not may_replace or wanted not in SMALLER_BLOCKS:
        raise NamingError(
            "row-not-divisible",
            f"{file_type.name} is not possible: rows of {tensor.name} have {n_cols} values, which blocks of "
            f"{TYPE_BY_NAME[wanted].block_size} ({wanted}) do not divide. llama-quantize refuses this too; "
            "convert to F16 or BF16.",
        )
    smaller = SMALLER_BLOCKS[wanted]
    return "F16" if n_cols % TYPE_BY_NAME[smaller].block_size else smaller
