"""Nothing is missing: every layer that the header announces is there, and a row of weights for every token."""

from conversion.inference.checks.trial import Trial


def check_completeness(trial: Trial) -> None:
    with trial.report.check("completeness") as check:
        entries = trial.look.weights.entries
        if not entries:
            check.fail("it holds no tensor at all", code="no-tensors")
            return
        n_parameters = sum(entry.n_elements for entry in entries.values())
        trial.report.artifact["n_parameters"] = n_parameters
        check.pass_(f"{len(entries)} tensors, {n_parameters:,} parameters", n_parameters)
