"""All checks on one artifact, in order, each engine in its own sandbox.

Memory: one piece of 8 MiB of logits from each model, and one slab of a tensor. Two children run at a time, the
artifact and its parent, window by window; nothing of the logits is kept. With a reading there is one child.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from conversion.inference.checks.completeness import check_completeness
from conversion.inference.checks.cost import check_cost
from conversion.inference.checks.fidelity import check_fidelity
from conversion.inference.checks.forward import check_forward
from conversion.inference.checks.integrity import check_integrity
from conversion.inference.checks.load import check_load
from conversion.inference.checks.tensors import check_tensors
from conversion.inference.checks.tokenizer import check_tokenizer
from conversion.inference.checks.trial import OnProgress, Reference, Trial
from conversion.inference.limits import read_limits
from conversion.inference.report import Report
from conversion.inference.starting import counting_starts

__all__ = ["STEPS", "OnProgress", "Reference", "judge"]

STEPS: list[Callable[[Trial], None]] = [
    check_integrity,
    check_completeness,
    check_tensors,
    check_load,
    check_tokenizer,
    check_forward,
    check_fidelity,
    check_cost,
]
"""In this order, the tokenizer of the loaded artifact; after the first check that fails the rest is skipped."""


def judge(
    artifact: Path,
    reference: Reference | None = None,
    *,
    sha256: str | Mapping[str, str] | None = None,
    threads: int = 1,
    memory_bytes: int = 0,
    max_seconds: float = math.inf,
    on_progress: OnProgress = lambda phase, share: None,
) -> Report:
    """What is true of the artifact, a file or the folder of a checkpoint, and of its distance from its parent.

    Never raises for a bad file. `sha256` is the recorded digest of a file, or those of a folder by path. What does not
    fit into `memory_bytes` (0: what is free) is streamed, or its first layers are run; those, too, where the whole
    would take longer than `max_seconds`.
    """
    started = time.perf_counter()
    report = Report(
        artifact={"size_bytes": _size_of(artifact)},
        parent=dict(reference.facts) if reference else {},
        limits_version=read_limits().version,
    )
    with counting_starts() as starts, ExitStack() as stack:
        trial = Trial(
            report, artifact, reference, sha256, threads, _growing(on_progress), stack,
            memory_bytes=memory_bytes, max_seconds=max_seconds, starts=starts,
        )  # fmt: skip
        for step in STEPS:
            if report.stopped:
                break
            step(trial)
    on_progress("done", 1.0)
    report.seconds = time.perf_counter() - started
    return report


def _growing(on_progress: OnProgress) -> OnProgress:
    """Shares never fall: a check that knows only its own part may say less than the one before."""
    most = 0.0

    def tell(phase: str, share: float) -> None:
        nonlocal most
        most = max(most, share)
        on_progress(phase, most)

    return tell


def _size_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
