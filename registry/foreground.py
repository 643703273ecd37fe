"""A job worked on in this very process, with a progress bar: what the shell commands have in common.

Results go to stdout, the bar and messages to stderr. Without a terminal the bar is silent.
"""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django.core.management.base import CommandError
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from registry import work
from registry.models import Job

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def run_with_bar(job: Job) -> Job:
    """The job as it is after working on it here: finished, or still queued when SIGINT or SIGTERM came first."""
    with _quiet_log(), _stopping_on_signals(), _bar() as bar:
        task = bar.add_task(job.label, total=None, phase="")

        def show(progress: work.Progress) -> None:
            bar.update(task, completed=progress.bytes_done, total=progress.bytes_total, phase=progress.phase)

        return work.run_in_foreground(job, show)


def refuse_unfinished(job: Job) -> None:
    """Raises CommandError, with the exit status that the commands document, unless the job succeeded."""
    if job.state == Job.State.SUCCEEDED:
        return
    if job.is_finished:
        why = job.error_message or f"{job.label} was {job.state}."
        code = job.error_code or job.state
        raise CommandError(f"{code}: {why} (job {job.pk})", returncode=FAILED)
    raise CommandError(
        f"interrupted: {job.label} goes on when a worker runs, or when you repeat the command (job {job.pk}).",
        returncode=INTERRUPTED,
    )


def _bar() -> Progress:
    """One line however narrow the terminal is: the label gives way first, figures never wrap."""
    label = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=label),
        BarColumn(bar_width=10), TaskProgressColumn(table_column=Column(no_wrap=True)),
        DownloadColumn(binary_units=False, table_column=Column(no_wrap=True)),
        TransferSpeedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[phase]}", markup=False, table_column=Column(no_wrap=True, max_width=15)),
        console=Console(stderr=True), transient=True, expand=True,
    )  # fmt: skip


@contextmanager
def _quiet_log() -> Iterator[None]:
    """The engine's routine lines do not run through the bar; warnings still do."""
    engine = logging.getLogger("registry.work")
    before = engine.level
    engine.setLevel(logging.WARNING)
    try:
        yield
    finally:
        engine.setLevel(before)


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the work at its next checkpoint; a second SIGINT ends the process."""

    def stop(number: int, frame: FrameType | None) -> None:
        work.stopping.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
