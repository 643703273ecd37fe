"""What the artifact computes is sane: finite, of the right shape, and not the same whatever it is asked."""

from conversion.inference.checks.trial import Trial, record
from conversion.inference.engine import EngineError
from conversion.inference.kinds import KINDS


def check_forward(trial: Trial) -> None:
    with trial.report.check("forward") as check:
        try:
            KINDS[trial.subject.kind].forward(trial, check)
        except EngineError as error:
            record(check, error)
