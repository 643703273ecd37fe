"""`holdfast show REF`"""

from __future__ import annotations

import argparse

from holdfast.arguments import REFERENCE_HELP
from holdfast.asking.describing import describe, read_card
from holdfast.asking.show_report import description_lines, file_lines
from holdfast.choosing.locating import locate
from holdfast.errors import OK
from holdfast.output import Output
from holdfast.settings import Settings
from holdfast.text import printable

DESCRIPTION = (
    "Shows what the index tells of a model: its card, files, lineage, copies, verdicts, and how to get it."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `show`."""
    parser.add_argument("reference", metavar="REF", help=REFERENCE_HELP)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--files", action="store_true", help="every file with its size and digest")
    what.add_argument("--readme", action="store_true", help="the text of the model's card")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Prints what is known; nothing is fetched into the cache."""
    reference = locate(args.reference, settings, out)
    described = describe(reference, settings, out)
    card = read_card(described, reference, settings, out) if args.readme else None
    out.json({**described.as_json(), **({} if card is None else {"readme": card})})
    if card is not None:
        lines = [printable(line) for line in card.expandtabs(4).splitlines()]
    else:
        lines = file_lines(described) if args.files else description_lines(described)
    for line in lines:
        out.result(line)
    return OK
