"""What the run took. Informational: on a busy machine a slow run says nothing of the artifact.

CPU seconds are of the child that ran the artifact, and rates are tokens per CPU second: they mean the same on a busy
machine as on a quiet one, which wall times do not.
"""

import os
from typing import Any

from conversion.inference.checks.trial import Trial


def check_cost(trial: Trial) -> None:
    check = trial.report.checks["cost"]
    value: dict[str, Any] = {
        "threads": trial.threads,
        "load_average": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
        "starts": {"n_children": trial.starts.n_children, "seconds": round(trial.starts.seconds, 3)},
    }
    if not hasattr(trial, "artifact"):
        check.pass_("nothing was run", value)
        return
    usage, rates = trial.artifact.usage, {name: rate for name, rate in trial.rates.items() if rate}
    value |= {
        "load_seconds": round(trial.artifact.loading_seconds, 3),
        "cpu_seconds": round(usage.cpu_seconds, 2),
        "peak_bytes": usage.peak_bytes,
        "tokens_per_cpu_second": {name: round(rate, 1) for name, rate in rates.items()},
    }
    spoken = "".join(f", {name} {rate:,.0f} tokens a CPU second" for name, rate in rates.items())
    check.pass_(f"{usage.cpu_seconds:.1f} CPU s and {usage.peak_bytes / 1e6:,.0f} MB{spoken}", value)
