"""All checks on one artifact, in order, each engine in its own sandbox.

Memory: one piece of 8 MiB of logits from each model, and one slab of a tensor. Two children run at a time, the
artifact and its parent, window by window; nothing of the logits is kept.
"""

import time
from contextlib import ExitStack
from pathlib import Path

from conversion.inference.checks import STEPS, OnProgress, Reference, Trial
from conversion.inference.limits import read_limits
from conversion.inference.report import Report

__all__ = ["OnProgress", "Reference", "judge"]


def judge(
    artifact: Path,
    reference: Reference | None = None,
    *,
    sha256: str | None = None,
    threads: int = 1,
    on_progress: OnProgress = lambda phase, share: None,
) -> Report:
    """What is true of the GGUF at `artifact`, and of its distance from its parent. Never raises for a bad file.

    After the first check that fails, the rest is skipped.
    """
    started = time.perf_counter()
    report = Report(
        artifact={"size_bytes": artifact.stat().st_size},
        parent=dict(reference.facts) if reference else {},
        limits_version=read_limits().version,
    )
    with ExitStack() as stack:
        trial = Trial(report, artifact, reference, sha256, threads, on_progress, stack)
        for step in STEPS:
            if report.stopped:
                break
            step(trial)
    on_progress("done", 1.0)
    report.seconds = time.perf_counter() - started
    return report
