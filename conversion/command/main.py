"""`python -m conversion`: reads the command line, does the work, says how it went."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from conversion.command.arguments import FAILED, INTERRUPTED, MADE, parse

if TYPE_CHECKING:
    from conversion.command.planning import Job


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status; see EPILOG. A termination signal ends the run like Ctrl-C: nothing is left."""
    options = parse(arguments)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(options)
    except KeyboardInterrupt:
        _say("interrupted; nothing was left")
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(options: argparse.Namespace) -> int:
    from conversion.command import planning, shown, sources, writing
    from conversion.formats.errors import HeaderError
    from conversion.naming.base import NamingError
    from conversion.quants import QuantError

    try:
        with (
            sources.opened(Path(options.source), options.adapter) as source,
            planning.planned(options, source) as job,
        ):
            for said in dict.fromkeys(line for made in job.made for line in made.said):
                _say(said)
            if not options.dry_run:
                _make(options, job)
            if options.json:
                shown.print_line(shown.as_json(job, with_tensors=options.dry_run))
            elif options.dry_run:
                shown.print_plans(job)
            else:
                for made in job.made:
                    shown.print_line(f"made {shown.closing(made)}")
    except (HeaderError, NamingError, QuantError, writing.WriteError) as error:
        _say(f"{error.code}: {error}")
        return FAILED
    except BrokenPipeError:  # whoever read our stdout has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _say(f"cannot-read: {error}")
        return FAILED
    return MADE


def _make(options: argparse.Namespace, job: "Job") -> None:
    from conversion.command import progress, writing
    from conversion.naming.compiling import prepare_kernels

    for output in job.outputs:
        output.path.parent.mkdir(parents=True, exist_ok=True)
    total = sum(output.plan.layout.size_bytes for output in job.outputs)
    with progress.shown(total, is_quiet=options.quiet) as (on_bytes, say):
        tell = say if not options.quiet else lambda text: None
        prepare_kernels([output.plan for output in job.outputs], job.weights, tell)
        say("converting")
        writing.write_files(
            job.outputs,
            job.weights,
            n_threads=options.threads,
            small_files=job.small_files,
            on_bytes=on_bytes,
        )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
