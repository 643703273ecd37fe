"""Weights that no engine here runs: judged by their tensors, and said so."""

from conversion.inference.checks.trial import Trial
from conversion.inference.kinds.base import Kind
from conversion.inference.report import Check


def _not_run(trial: Trial, check: Check) -> None:
    check.skip("nothing here runs models of this kind")
    trial.report.level = "tensors"


TENSORS = Kind(_not_run, _not_run, _not_run)
