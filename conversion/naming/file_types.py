"""File types: what a GGUF of one name (Q8_0, Q4_0, F16, …) holds, tensor by tensor.

F32, F16 and BF16 follow the reference converter, the rest follows llama-quantize (both llama.cpp 82bb48500). A new file
type is one line in `FILE_TYPES`.

1. One dimension, `_norm.weight`, or a name that does not end in `.weight`: F32.
2. `output.weight`, or `token_embd.weight` where the embeddings are tied: Q6_K in a Q4_0 file.
3. Everything else has the file's own type.
4. Q6_K whose rows do not divide by 256 becomes Q8_0. Any other row that blocks do not divide: no file at all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conversion.naming.base import NamingError
from conversion.quants import type_by_name

RULES = "llama.cpp-82bb48500/1"
"""Named in every recipe: a change of these rules is a change of every artifact."""

OUTPUT, EMBEDDING = "output.weight", "token_embd.weight"
FALLBACK = {"Q6_K": "Q8_0"}


@dataclass(frozen=True)
class FileType:
    """`number` is general.file_type (llama.h: enum llama_ftype); `quantised` files are laid out by llama-quantize."""

    name: str
    number: int
    default: str
    output: str
    quantised: bool


FILE_TYPES: dict[str, FileType] = {
    kind.name: kind
    for kind in (
        FileType("F32", 0, "F32", "F32", quantised=False),
        FileType("F16", 1, "F16", "F16", quantised=False),
        FileType("BF16", 32, "BF16", "BF16", quantised=False),
        FileType("Q8_0", 7, "Q8_0", "Q8_0", quantised=True),
        FileType("Q4_0", 2, "Q4_0", "Q6_K", quantised=True),
    )
}


def file_type_by_name(name: str) -> FileType:
    """The file type of that name, in any case; NamingError `unknown-file-type` lists what there is."""
    kind = FILE_TYPES.get(name.upper())
    if kind is None:
        raise NamingError("unknown-file-type", f"{name[:60]!r} is not one of {', '.join(FILE_TYPES)}.")
    return kind


def choose_types(tensors: Sequence[tuple[str, tuple[int, ...]]], file_type: FileType) -> list[str]:
    """The ggml type of each tensor, given as (GGUF name, row-major shape) of one whole file.

    Raises NamingError `row-not-divisible`, naming the tensor, where llama-quantize refuses the file.
    """
    is_tied = all(name != OUTPUT for name, _ in tensors)
    return [_choose(name, shape, file_type, is_tied) for name, shape in tensors]


def quantised_order(names: Iterable[str]) -> list[str]:
    """As llama-quantize writes tensors: those of no layer first, then layer by layer, each by name."""
    return sorted(names, key=lambda name: (_layer(name), name))


def _choose(name: str, shape: tuple[int, ...], file_type: FileType, is_tied: bool) -> str:
    if len(shape) < 2 or name.endswith("_norm.weight") or not name.endswith(".weight"):
        return "F32"
    is_output = name == OUTPUT or (is_tied and name == EMBEDDING)
    wanted = file_type.output if is_output else file_type.default
    n_cols = shape[-1]
    if n_cols % type_by_name(wanted).block_size:
        wanted = FALLBACK.get(wanted, wanted)
    if n_cols % type_by_name(wanted).block_size:
        raise NamingError(
            "row-not-divisible",
            f"{file_type.name} is not possible: rows of {name} have {n_cols} values, which blocks of "
            f"{type_by_name(wanted).block_size} do not divide. llama-quantize refuses this too; "
            "convert to F16 or BF16.",
        )
    return wanted


def _layer(name: str) -> int:
    prefix, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return int(number) if prefix == "blk" and number.isdecimal() else -1
