"""What the artifact says is what its parent says, within the limits of its class."""

from conversion.inference.checks.trial import Trial, record
from conversion.inference.engine import EngineError
from conversion.inference.kinds import KINDS


def check_fidelity(trial: Trial) -> None:
    with trial.report.check("fidelity") as check:
        try:
            KINDS[trial.subject.kind].fidelity(trial, check)
        except EngineError as error:
            record(check, error)
