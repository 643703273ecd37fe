"""`holdfast remove REF…`"""

from __future__ import annotations

import argparse

from holdfast.cache.removal_report import agree, cut_json, cut_lines, freed_line
from holdfast.cache.removing import plan_removal, remove
from holdfast.errors import OK
from holdfast.output import Output
from holdfast.reference import parse_reference
from holdfast.settings import Settings

DESCRIPTION = "Take models out of the cache. What other commits share stays."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `remove`."""
    parser.add_argument("references", nargs="+", metavar="REF", help="org/name[@revision][:variant][//path]")
    add_removal_flags(parser)


def add_removal_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of everything that removes."""
    parser.add_argument("--dry-run", action="store_true", help="show what would go, change nothing")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Removes what the references name, after all of them were found."""
    references = [parse_reference(text) for text in args.references]
    cuts = plan_removal(references, settings.cache_dir)
    for line in cut_lines(cuts):
        (out.result if args.dry_run else out.note)(line)
    agree(cuts, settings, yes=args.yes or args.dry_run)
    done = cuts if args.dry_run else remove(cuts)
    out.json(cut_json(done, dry_run=args.dry_run))
    out.note(freed_line(done, dry_run=args.dry_run))
    return OK
