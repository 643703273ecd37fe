"""The checks, in the order they are made. Each takes the Trial and writes its Check; none raises for a bad file."""

from collections.abc import Callable

from conversion.inference.checks.container import check_container, check_integrity, check_tensors
from conversion.inference.checks.fidelity import check_fidelity
from conversion.inference.checks.greedy import check_greedy
from conversion.inference.checks.load import check_cost, check_load, open_parent
from conversion.inference.checks.tokenizer import check_tokenizer
from conversion.inference.checks.trial import OnProgress, Reference, Trial

__all__ = ["STEPS", "OnProgress", "Reference", "Trial"]

STEPS: list[Callable[[Trial], None]] = [
    check_integrity,
    check_container,
    check_tensors,
    check_load,
    open_parent,
    check_tokenizer,
    check_fidelity,
    check_greedy,
    check_cost,
]
