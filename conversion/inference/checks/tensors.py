"""Every weight is a number: NaN and infinity fail, nothing but zeros is a warning."""

from collections.abc import Sequence

from conversion.inference.checks.trial import Trial
from conversion.inference.tensors import TensorFindings, inspect_tensors


def check_tensors(trial: Trial) -> None:
    trial.on_progress("tensors", 0.1)
    with trial.report.check("tensors") as check:
        found = _inspect(trial)
        value = found.as_json()
        if found.not_finite:
            check.fail(f"NaN or infinity in {_some(found.not_finite)}", value, code="tensor-not-finite")
        elif found.all_zero:
            check.warn(f"nothing but zeros in {_some(found.all_zero)}", value)
        elif found.unread_types:
            check.pass_(
                f"{found.n_read} tensors hold finite values; not read: {_some(found.unread_types)}", value
            )
        else:
            check.pass_(f"all {found.n_read} tensors hold finite values", value)


def _inspect(trial: Trial) -> TensorFindings:
    """All files of the artifact together."""
    together = TensorFindings()
    weights = trial.look.weights
    path_of = getattr(weights, "path_of", {})
    for path, source in getattr(weights, "sources", {}).items():
        entries = [entry for entry in weights.entries.values() if path_of[entry.name] == path]
        found = inspect_tensors(source, entries)
        together.n_read += found.n_read
        together.not_finite += found.not_finite
        together.all_zero += found.all_zero
        together.unread_types += [kind for kind in found.unread_types if kind not in together.unread_types]
    return together


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
