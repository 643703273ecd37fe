"""The engine is the one we know, it loads the artifact, and it runs the parent."""

import os

from conversion.inference.checks.trial import Trial, record
from conversion.inference.engine import EngineError
from conversion.inference.selftest import check_engine


def check_load(trial: Trial) -> None:
    trial.on_progress("loading", 0.2)
    with trial.report.check("load") as check:
        try:
            trial.report.engines["artifact"] = check_engine("llama.cpp", trial.threads)
            trial.artifact = trial.open("llama.cpp", trial.path)
        except EngineError as error:
            record(check, error)
            return
        facts = trial.artifact.facts
        trial.report.isolation = trial.artifact.isolation
        name = facts.description.replace(" ?B", "")  # how the engine says that it is below a billion
        check.pass_(f"loads: {name}, {facts.n_vocab} tokens, context {facts.n_context}")


def open_parent(trial: Trial) -> None:
    """The parent runs. An artifact is judged without its parent only if none was given."""
    if trial.reference is None:
        return
    trial.on_progress("loading the parent", 0.25)
    with trial.report.check("fidelity") as check:
        try:
            trial.report.engines["parent"] = check_engine(trial.reference.engine, trial.threads)
            trial.parent = trial.open(trial.reference.engine, trial.reference.path)
        except EngineError as error:
            # Never the artifact's fault, whatever is wrong with the parent.
            code = error.code if error.says_nothing_of_the_file else "parent-not-run"
            check.error(f"the parent could not be run: {error}", error.facts, code=code)


def check_cost(trial: Trial) -> None:
    """Informational: on a busy machine a slow run says nothing of the artifact."""
    loading, comparing = trial.artifact.loading_seconds, trial.report.checks["forward"].seconds
    value = {
        "load_seconds": round(loading, 3),
        "threads": trial.threads,
        "load_average": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
    }
    trial.report.checks["cost"].pass_(f"loaded in {loading:.2f} s, compared in {comparing:.2f} s", value)
