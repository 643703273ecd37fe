"""From GGUF's names back to Hugging Face's: tensors as transformers wants them, config.json, the tokenizer's files.

A restorer guesses names and settings from what the GGUF holds; then the family's own converter is asked what it would
make of them. Only where that is this very GGUF, every tensor by name and shape and every key of its architecture, is
the guess taken. What a GGUF does not hold (dropout, the window of a Qwen2, …) has transformers' defaults.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from conversion.formats.gguf import Value
from conversion.formats.gguf.weights import GgufWeights
from conversion.naming.base import Config, Family, NamingError, Target
from conversion.naming.renaming import check_layers, check_parts
from conversion.naming.restoring.held import Held
from conversion.naming.restoring.inverting import inverted

__all__ = ["Restored", "restored"]

NOT_ASKED = frozenset({"rope.scaling.finetuned", "tensor_data_layout", "vocab_size"})
"""Keys of an architecture that change nothing of what is computed."""

MAY_LACK = ("output",)
ShapeOf = Callable[[str, tuple[int, ...]], tuple[int, ...]]
_STEM = re.compile(r"blk\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Restored:
    """Targets under Hugging Face's names, and the files beside them. `lost`: what could not be restored, in words."""

    targets: tuple[Target, ...]
    files: Mapping[str, bytes]
    lost: tuple[str, ...] = ()


def restored(weights: GgufWeights) -> Restored:
    """The checkpoint that this GGUF could have been made from.

    Reads metadata and single small tensors. NamingError: `architecture-not-restored`, `tensor-not-restored`,
    `config-not-restored`, and what the family raises; a tokenizer that cannot be restored is said in `lost`.
    """
    from conversion.naming import family_for
    from conversion.naming.restoring.families import RESTORERS
    from conversion.naming.restoring.vocabulary import tokenizer_files

    held = Held.of(weights)
    restorer = RESTORERS.get(held.architecture)
    if restorer is None:
        raise NamingError(
            "architecture-not-restored",
            f"a GGUF of {held.architecture or 'no architecture'} keeps its own names; Hugging Face's are restored for "
            f"{', '.join(RESTORERS)}.",
        )
    names = restorer.names(held)
    _check_complete(held, names)
    config = restorer.config(held)
    shapes = _shapes(held, names, restorer.shape)
    family = family_for(config)
    targets = family.targets(config, shapes)
    _check_tensors(held, targets)
    _check_keys(held, family, config)
    files, lost = tokenizer_files(held)
    files = {"config.json": json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n"} | files
    return Restored(tuple(inverted(targets, shapes)), files, lost)


def _check_complete(held: Held, names: Mapping[str, str]) -> None:
    """Every layer has the weights that are named, and the same biases: a loader makes up what is missing."""
    n_layers = held.count("block_count")
    check_layers(n_layers)
    of_layers: dict[int, set[str]] = {layer: set() for layer in range(n_layers)}
    at_top = set()
    for name in held.shapes:
        if match := _STEM.fullmatch(name):
            of_layers.setdefault(int(match[1]), set()).add(f"blk.{{}}.{match[2]}")
        else:
            at_top.add(name)
    found = set.union(*of_layers.values())
    wanted = {f"{stem}.weight" for stem in names if stem not in MAY_LACK} | found
    for layer, here in of_layers.items():
        if missing := wanted - here - at_top:
            name = min(missing).replace("{}", str(layer))
            raise NamingError(
                "tensor-not-restored", f"there is no tensor {name[:200]!r}; GGUF's names are kept."
            )


def _shapes(held: Held, names: Mapping[str, str], shape_of: ShapeOf) -> dict[str, tuple[int, ...]]:
    """Hugging Face's name of each tensor, and its shape there, as the restorer has them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, stored in held.shapes.items():
        template = _template(name, names)
        if template is None:
            continue  # made from the config, or nobody's: the family's answer will show
        if "{expert}" in template and len(stored) == 3:
            check_parts("experts", stored[0])
            for expert in range(stored[0]):
                shapes[template.replace("{expert}", str(expert))] = stored[1:]
        else:
            shapes[template] = shape_of(template, stored)
    return shapes


def _template(name: str, names: Mapping[str, str]) -> str | None:
    stem, _, kind = name.rpartition(".")
    if match := _STEM.fullmatch(stem):
        found = names.get(f"blk.{{}}.{match[2]}")
        return found and f"{found.replace('{}', match[1])}.{kind}"
    found = names.get(stem)
    return found and f"{found}.{kind}"


def _check_tensors(held: Held, targets: list[Target]) -> None:
    """The family makes exactly the tensors of the GGUF; those it makes from the config have the same values."""
    made = {target.name: target for target in targets}
    differing = held.shapes.keys() ^ made.keys() or {
        name for name, target in made.items() if _squeezed(target.shape) != _squeezed(held.shapes[name])
    }
    for name, target in made.items():
        if name not in differing and target.values is not None:
            stored = held.weights.rows(name, 0, target.n_rows)
            if not np.array_equal(stored, target.values.reshape(stored.shape)):
                differing = differing | {name}
    if differing:
        raise NamingError(
            "tensor-not-restored",
            f"tensor {min(differing)[:200]!r} is not as this architecture would have it; GGUF's names are kept.",
        )


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without the leading ones, which a quantised GGUF leaves out."""
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape


def _check_keys(held: Held, family: Family, config: Config) -> None:
    """Every key that the GGUF has of its architecture follows from the config, but for NOT_ASKED."""
    from conversion.naming.collecting import collected, new_collector

    writer = new_collector(family.gguf_architecture)
    if family.describe_first is not None:
        family.describe_first(config, writer)
    family.describe(config, 0, writer)
    made = collected(writer)
    prefix = f"{held.architecture}."
    for key in held.metadata:
        if (
            key.startswith(prefix)
            and key.removeprefix(prefix) not in NOT_ASKED
            and not _is_same(held, key, made)
        ):
            raise NamingError(
                "config-not-restored",
                f"{key} is {held.metadata[key]!r:.80}, which no config.json that we can write says; GGUF's names are "
                "kept.",
            )


def _is_same(held: Held, key: str, made: Mapping[str, Value]) -> bool:
    if key not in made:
        return False
    ours, stored = made[key].value, held.metadata[key]
    if isinstance(ours, list):
        return list(ours) == held.whole(key)
    if isinstance(ours, float) and isinstance(stored, int | float):
        return bool(np.float32(ours) == np.float32(stored))
    return bool(ours == stored)
