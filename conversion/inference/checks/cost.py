"""What the run took. Informational: on a busy machine a slow run says nothing of the artifact."""

import os

from conversion.inference.checks.trial import Trial


def check_cost(trial: Trial) -> None:
    value = {
        "threads": trial.threads,
        "load_average": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
    }
    comparing = trial.report.checks["forward"].seconds
    if hasattr(trial, "artifact"):
        value["load_seconds"] = round(trial.artifact.loading_seconds, 3)
        summary = f"loaded in {trial.artifact.loading_seconds:.2f} s, compared in {comparing:.2f} s"
    else:
        summary = "nothing was run"
    trial.report.checks["cost"].pass_(summary, value)
