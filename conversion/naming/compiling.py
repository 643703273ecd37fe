"""Compiled kernels, got ready before a large job; a small one is done by numpy before they would be there."""

from collections import Counter
from collections.abc import Callable, Iterable

from conversion.formats.weights import Weights
from conversion.naming.slabs import FilePlan
from conversion.quants import kernels
from conversion.quants.kernels.caching import is_cached

WORTH_LOADING, WORTH_COMPILING = 1 << 20, 1 << 23
"""Elements of one type from which on its kernel is got: a few tenths of a second, or some seconds once."""


def prepare_kernels(plans: Iterable[FilePlan], weights: Weights, say: Callable[[str], None]) -> None:
    """Every kernel that the job is large enough for is loaded; compiling is said, for it takes seconds, once."""
    if kernels.mode() != "auto":
        return
    wanted = _wanted(plans, weights)
    wanted["finite", "find_not_finite"] = sum(n for (_, action), n in wanted.items() if action == "quantize")
    for (name, action), n_elements in wanted.items():
        if not kernels.has_kernels(name):
            continue
        is_kept = is_cached(name, action)
        if n_elements >= (WORTH_LOADING if is_kept else WORTH_COMPILING):
            if not is_kept:
                say(f"compiling kernels, once ({name})")
            kernels.load(name, action)


def _wanted(plans: Iterable[FilePlan], weights: Weights) -> Counter[tuple[str, str]]:
    """(type, "quantize", "dequantize" or a shortcut) -> elements to be worked on."""
    wanted: Counter[tuple[str, str]] = Counter()
    sources = weights.entries
    for plan in plans:
        for target, entry in zip(plan.targets, plan.layout.entries, strict=True):
            if target.packed is None:
                wanted[entry.dtype, "quantize"] += target.n_elements
                if target.source in sources:
                    stored = sources[target.source].dtype
                    wanted[stored, "dequantize"] += target.n_elements
                    if (stored, entry.dtype) in kernels.FROM_STORED:
                        wanted[entry.dtype, kernels.FROM_STORED[stored, entry.dtype]] += target.n_elements
    return wanted
