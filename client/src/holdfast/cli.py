"""The command line: parse, read the surroundings, call one command, turn errors into words and exit codes.

Exit codes: 0 ok, 1 failed or `check` found a problem, 2 usage or unexpected error, 23 nothing matched, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from holdfast import __version__
from holdfast.arguments import build_parser
from holdfast.commands import COMMANDS
from holdfast.configuration.isolation import isolate
from holdfast.errors import INTERRUPTED, USAGE, HoldfastError, UsageError
from holdfast.output import Output, make_printable, say

if TYPE_CHECKING:
    from holdfast.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code. Prints no traceback unless -vv asks for it."""
    make_printable(sys.stdout, sys.stderr)
    args = build_parser().parse_args(argv)
    out = Output(verbosity=-1 if args.quiet else args.verbose, as_json=args.json)
    try:
        return _run(args, out)
    except HoldfastError as error:
        if out.verbosity >= 2:
            _print_traceback()
        out.error(error)
        return error.exit_code
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:
        if out.verbosity >= 2:
            _print_traceback()
        out.error(_unexpected(error))
        return USAGE
    finally:
        out.close_log()


def _run(args: argparse.Namespace, out: Output) -> int:
    from holdfast.settings import read_settings

    if args.isolated:
        isolate(os.environ)
    module = COMMANDS[args.command].module()
    settings = read_settings(args, os.environ, with_files=not getattr(module, "READS_FILES_ITSELF", False))
    if settings.log is not None:
        out.log_to(settings.log)
        out.trace(f"holdfast {__version__} {args.command}")
    for warning in settings.warnings:
        out.note(f"warning: {warning}")
    if args.no_cache_dir:
        return _run_without_cache(module, args, settings, out)
    return int(module.run(args, settings, out))


def _run_without_cache(module: Any, args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """The cache of this run is a folder that is gone afterwards, so what is to stay must go elsewhere."""
    from dataclasses import replace
    from pathlib import Path
    from tempfile import TemporaryDirectory

    if getattr(args, "dest", "") is None:
        raise UsageError(
            "--no-cache-dir keeps nothing of what is pulled", hint="Add --dest DIR for where it should stay."
        )
    with TemporaryDirectory(prefix="holdfast-") as folder:
        return int(module.run(args, replace(settings, cache_dir=Path(folder)), out))


def console() -> None:
    """The console script. An interrupt ends the process at once: nothing needs tidying, whatever was under way."""
    try:
        code = main()
    except KeyboardInterrupt:
        say("\ninterrupted: what has arrived is kept, run the same command again to go on")
        os._exit(
            INTERRUPTED
        )  # threads may still wait for the network; partial files are exact at any instant
    sys.exit(code)


def _unexpected(error: Exception) -> UsageError:
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # what pathlib says about ~
        return UsageError(
            "there is no home folder", hint="Set HOME; or HF_HOME, or --cache-dir and the like."
        )
    unexpected = UsageError(
        f"unexpected {type(error).__name__}: {error}",
        hint="This is a fault of holdfast. Run again with -vv and report what it prints.",
    )
    unexpected.code = "unexpected"
    return unexpected


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def _reader_left() -> int:
    """Whoever read our output has gone, as `head` does: nothing more to say, and not an error worth words."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
