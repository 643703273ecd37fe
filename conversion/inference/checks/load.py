"""The engine is the one we know, and it loads the artifact."""

from conversion.inference.checks.trial import Trial, record
from conversion.inference.engine import EngineError
from conversion.inference.kinds import KINDS


def check_load(trial: Trial) -> None:
    trial.on_progress("loading", 0.2)
    with trial.report.check("load") as check:
        try:
            KINDS[trial.subject.kind].load(trial, check)
        except EngineError as error:
            record(check, error)
