"""`holdfast pull REF…`"""

from __future__ import annotations

import argparse
from pathlib import Path

from holdfast.errors import OK
from holdfast.output import Output
from holdfast.pulling import Wish, pull
from holdfast.reference import parse_reference
from holdfast.selection import Patterns
from holdfast.settings import Settings


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
