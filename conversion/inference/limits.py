"""How far an artifact may be from its parent, by class. The figures are in limits.json, versioned with each report."""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from conversion.formats.layout import TensorEntry
from conversion.inference.fidelity import Figures

PATH = Path(__file__).with_name("limits.json")
HOLDS = {
    "F64": {"F64", "F32", "F16", "BF16"},
    "F32": {"F32", "F16", "BF16"},
    "F16": {"F16"},
    "BF16": {"BF16"},
}
"""Floating-point type -> the types whose every value it can hold."""

NOT_IN_LAYERS = ("token_embd.weight", "output.weight", "per_layer_token_embd.weight")


@dataclass(frozen=True)
class ClassLimits:
    """The limits of one class. KL divergences in nats, agreement as a share; None: not limited."""

    name: str
    types: tuple[str, ...]
    kld_pass: float
    kld_fail: float
    top1_pass: float
    ln_ppl_pass: float | None

    def misses(self, figures: Figures) -> list[str]:
        """What misses its passing limit, each as a sentence with the number and the limit."""
        missed = []
        if figures.cautious_kld > self.kld_pass:
            missed.append(f"mean KLD + 3 SE is {figures.cautious_kld:.3g} (limit {self.kld_pass:g})")
        if figures.top1_agreement < self.top1_pass:
            missed.append(
                f"the same next token at {figures.top1_agreement:.1%} of positions (limit {self.top1_pass:.1%})"
            )
        if self.ln_ppl_pass is not None and abs(figures.ln_ppl_ratio) > self.ln_ppl_pass:
            missed.append(f"ln PPL ratio is {figures.ln_ppl_ratio:+.3g} (limit {self.ln_ppl_pass:g})")
        return missed


@dataclass(frozen=True)
class Limits:
    """Everything of limits.json."""

    version: int
    max_missed_pass_limits: int
    uniform_entropy_share: float
    tokenizer_differing_lines: float
    greedy_margin_nats: float
    classes: dict[str, ClassLimits]

    def class_of(self, entries: Iterable[TensorEntry], parent_dtypes: Collection[str]) -> ClassLimits:
        """The class of a GGUF with these tensors, made from a parent that stores these dtypes.

        A file is named for the type of most of its weights in layers: `Q4_K_M` files hold some Q6_K. A
        floating-point type is lossless if it can hold every value of the parent, else a cast; so is whatever we do
        not know.
        """
        kind = main_type(entries)
        if parent_dtypes and set(parent_dtypes) <= HOLDS.get(kind, set()):
            return self.classes["lossless"]
        for limits in self.classes.values():
            if kind in limits.types:
                return limits
        return self.classes["cast"]


def main_type(entries: Iterable[TensorEntry]) -> str:
    """The type that most elements of the matrices in layers have; of all tensors when there are no such matrices."""
    everything = list(entries)
    layers = [entry for entry in everything if len(entry.shape) > 1 and entry.name not in NOT_IN_LAYERS]
    sizes: Counter[str] = Counter()
    for entry in layers or everything:
        sizes[entry.dtype] += entry.n_elements
    return sizes.most_common(1)[0][0] if sizes else "F32"


@cache
def read_limits() -> Limits:
    """The limits that this version of the program judges by."""
    data = json.loads(PATH.read_text())
    classes = {
        name: ClassLimits(name, tuple(values.pop("types")), **values)
        for name, values in data.pop("classes").items()
    }
    data.pop("sources")
    return Limits(classes=classes, **data)
