"""What a kind of artifact must know."""

from collections.abc import Callable
from dataclasses import dataclass

from conversion.inference.checks.trial import Trial
from conversion.inference.report import Check

Step = Callable[[Trial, Check], None]


@dataclass(frozen=True)
class Kind:
    """The three checks that depend on what the artifact is. Each writes the check it is given; may raise EngineError.

    load: the engine loads the artifact (`trial.artifact`), and the parent where one must run.
    forward: what it computes is sane. fidelity: it is what the parent computes.
    """

    load: Step
    forward: Step
    fidelity: Step
