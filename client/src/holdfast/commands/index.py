"""`holdfast index versions REF`"""

from __future__ import annotations

import argparse

from holdfast.arguments import REFERENCE_HELP
from holdfast.asking.versions import Revision, list_versions
from holdfast.choosing.choices import as_facts
from holdfast.choosing.locating import locate
from holdfast.errors import OK
from holdfast.output import Output, choice_lines, table
from holdfast.settings import Settings
from holdfast.text import printable

DESCRIPTION = "Asks the index what there is of a model."
MOST = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The one thing that can be asked."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    versions = actions.add_parser("versions", help="revisions and variants of a model")
    versions.add_argument("reference", metavar="REF", help=REFERENCE_HELP)
    versions.add_argument(
        "--commits", type=_number, default=10, metavar="N", help="of how many commits to tell (10)"
    )


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Prints the revisions, then the variants. With -q only what may follow the @."""
    found = list_versions(locate(args.reference, settings, out), settings, out, n_commits=args.commits)
    out.json(found.as_json())
    if settings.verbosity < 0:
        for one in found.revisions:
            out.result(one.name)
        return OK
    heads = ("REVISION", "KIND", "COMMIT", "DATE", "HERE", "TITLE")
    for line in table(heads, [_row(one) for one in found.revisions], flexible=5):
        out.result(line)
    if found.choices:
        out.result(f"\nvariants of {found.repo_id}@{printable(found.revision)}")
    for line in choice_lines(as_facts(found.choices), found.repo_id) if found.choices else ():
        out.result(line)
    return OK


def _row(one: Revision) -> tuple[str, ...]:
    return (
        printable(one.name),
        one.kind,
        one.commit[:12],
        (one.date or "")[:10],
        "yes" if one.is_here else "",
        one.title or "",
    )


def _number(text: str) -> int:
    value = int(text)
    if not 0 <= value <= MOST:
        raise ValueError(text)
    return value


_number.__name__ = "count"  # what argparse calls it
