"""`holdfast pull REF…`"""

from __future__ import annotations

import argparse
from pathlib import Path

from holdfast.arguments import REFERENCE_HELP, workers
from holdfast.errors import OK
from holdfast.output import Output
from holdfast.pulling import Wish, pull
from holdfast.reference import parse_reference
from holdfast.selection import Patterns
from holdfast.settings import Settings

DESCRIPTION = "Resolve, plan, fetch, verify, publish into the cache. The last line on stdout is the path."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `pull`."""
    add = parser.add_argument
    add("references", nargs="+", metavar="REF", help=REFERENCE_HELP)
    add("-d", "--dest", "--local-dir", default=None, metavar="DIR", help="a plain folder, not the cache")
    add("--include", action="append", default=[], metavar="PATTERN", help="only paths like this; repeatable")
    add("--exclude", action="append", default=[], metavar="PATTERN", help="no paths like this; repeatable")
    add("--dry-run", action="store_true", help="show the plan, change nothing")
    add("--force", action="store_true", help="fetch again what is here, replace other files in --dest")
    add("--max-workers", type=workers, metavar="N", help="connections at once (8)")
    add("-y", "--yes", action="store_true", help="do not ask before a large pull")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Pulls each reference in turn; the last line on stdout is a path. The first failure ends the run."""
    references = [parse_reference(text) for text in args.references]
    wish = Wish(
        patterns=Patterns(tuple(args.include), tuple(args.exclude)),
        dest=None if args.dest is None else Path(args.dest).expanduser().absolute(),
        force=args.force,
        dry_run=args.dry_run,
        yes=args.yes,
    )
    pulled = []
    for reference in references:
        pulled.append(pull(reference, wish, settings, out))
        if not wish.dry_run:
            out.result(str(pulled[-1].path))
    out.json({"pulled": [one.as_json() for one in pulled], "dry_run": wish.dry_run})
    return OK
