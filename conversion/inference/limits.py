"""How far an artifact may be from its parent, by class. The figures are in limits.json, versioned with each report."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.formats.layout import TensorEntry
from conversion.inference.embeddings import VectorLimits
from conversion.inference.fidelity import Figures
from conversion.inference.outputs import NetworkLimits

if TYPE_CHECKING:
    from conversion.inference.report import Check

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
class Yardstick:
    """How far our own plain requantisation (no imatrix, no overrides) of the same parent is from it.

    `file_type` is the one whose main type is the artifact's, `converter` the version that made it. Figures on the same
    texts by the same engine; None where the artifact is that requantisation itself.
    """

    file_type: str
    converter: str
    figures: Figures | None = None

    @property
    def is_itself(self) -> bool:
        return self.figures is None

    def as_json(self) -> dict[str, Any]:
        figures = self.figures.as_json() if self.figures else None
        return {"file_type": self.file_type, "converter": self.converter, "figures": figures}


@dataclass(frozen=True)
class TensorLimits:
    """Of single tensors. ratio_fail: how many times as far from the parent's as our own quantisation to its type.

    as_ours_pass: the share of bytes that a file made without an importance matrix has in common with ours. lost_row: a
    row is lost when the square of its error is above this share of its own. lost_embedding_rows_pass: the share of
    lost rows that an embedding may have.
    """

    ratio_fail: float
    as_ours_pass: float
    lost_row: float
    lost_embedding_rows_pass: float


@dataclass(frozen=True)
class Limits:
    """Everything of limits.json. `relative`: how many times as far as the yardstick an artifact may be."""

    version: int
    relative: float
    max_missed_pass_limits: int
    uniform_entropy_share: float
    tokenizer_differing_lines: float
    greedy_margin_nats: float
    tensors: TensorLimits
    networks: NetworkLimits
    vectors: dict[str, VectorLimits]
    classes: dict[str, ClassLimits]

    def class_of(
        self,
        entries: Iterable[TensorEntry],
        parent_dtypes: Collection[str],
        config: Mapping[str, Any] | None = None,
    ) -> ClassLimits:
        """The class of an artifact with these tensors, made from a parent that stores these dtypes.

        A file is named for the type of most of its weights in layers: `Q4_K_M` files hold some Q6_K. A
        floating-point type is lossless if it can hold every value of the parent, else a cast; so is whatever we do
        not know.
        """
        if (packed := packed_class((config or {}).get("quantization_config"))) is not None:
            return self.classes.get(packed, self.classes["cast"])
        kind = main_type(entries)
        if parent_dtypes and set(parent_dtypes) <= HOLDS.get(kind, set()):
            return self.classes["lossless"]
        for limits in self.classes.values():
            if kind in limits.types:
                return limits
        return self.classes["cast"]


def packed_class(scheme: Any) -> str | None:
    """The class that a checkpoint's `quantization_config` claims, None without one; it may be one we have not."""
    if not scheme or not isinstance(scheme, Mapping):
        return None
    method = str(scheme.get("quant_method", ""))
    if method == "compressed-tensors":
        groups = scheme.get("config_groups")
        group = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
        weights = group.get("weights") if isinstance(group, Mapping) else None
        scheme = weights if isinstance(weights, Mapping) else {}
        method = "fp8" if scheme.get("type") == "float" and scheme.get("num_bits") == 8 else method
    if "fp8" in method:
        return "fp8"
    if method == "bitsandbytes":
        return "4 bit" if scheme.get("load_in_4bit") else "8 bit"
    bits = 4 if method in ("mxfp4", "nvfp4") else scheme.get("bits", scheme.get("num_bits"))
    return f"{bits} bit"


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
    vectors = {name: VectorLimits(**values) for name, values in data.pop("vectors").items()}
    networks = NetworkLimits(**data.pop("networks"))
    tensors = TensorLimits(**data.pop("tensors"))
    return Limits(classes=classes, vectors=vectors, networks=networks, tensors=tensors, **data)


def judge_figures(
    check: "Check", figures: Figures, limits: ClassLimits, everything: Limits, yardstick: Yardstick | None
) -> None:
    """The check says whether the figures are within the limits of the class and of the yardstick."""
    missed = limits.misses(figures)
    value, limit = figures.as_json(), vars(limits) | {"types": list(limits.types)}
    if figures.cautious_kld > limits.kld_fail or len(missed) > everything.max_missed_pass_limits:
        what = f"it does not say what its parent says, for a file of class {limits.name}"
        check.fail(f"{what}: {'; '.join(missed)}", value, limit, code="too-far-from-parent")
    elif further := further_than(figures, yardstick, everything):
        check.fail(further, value, limit | {"relative": everything.relative}, code="further-than-our-own")
    elif missed:
        check.warn(f"close to its parent for a file of class {limits.name}, but {missed[0]}", value, limit)
    else:
        check.pass_(f"says what its parent says: {figures}", value, limit)


def further_than(figures: Figures, yardstick: Yardstick | None, everything: Limits) -> str:
    """A sentence when the artifact is more than `relative` times as far as the yardstick, beyond both errors; or "".

    What would pass as lossless is near enough, whatever the yardstick: ours may be at nothing but rounding.
    """
    if yardstick is None or yardstick.figures is None:
        return ""
    ours, relative = yardstick.figures, everything.relative
    allowed = relative * (ours.mean_kld + ours.kld_error)
    if figures.mean_kld - figures.kld_error <= max(allowed, everything.classes["lossless"].kld_pass):
        return ""
    times = f"{figures.mean_kld / ours.mean_kld:.1f} times as far" if ours.mean_kld else "further"
    return (
        f"it is {times} from its parent {'as' if ours.mean_kld else 'than'} our own {yardstick.file_type} of it: mean "
        f"KLD {figures.mean_kld:.3g} ± {figures.kld_error:.1g}, ours {ours.mean_kld:.3g} ± {ours.kld_error:.1g} "
        f"(limit {relative:g} times)"
    )
