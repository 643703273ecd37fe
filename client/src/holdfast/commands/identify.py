"""`holdfast identify FILE…`"""

from __future__ import annotations

import argparse
from pathlib import Path

from holdfast.asking.identify_report import identified_lines
from holdfast.asking.identifying import identify
from holdfast.errors import NOTHING_MATCHED, OK
from holdfast.output import Output
from holdfast.settings import Settings

DESCRIPTION = (
    "Hashes files, asks the index whose they are (it gets the digest only), and reads what their headers say."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of any kind")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Says of each file what it is; exit code 23 if the index does not know all of them."""
    found = []
    for name in args.files:
        found.append(identify(Path(name), settings, out))
        for line in identified_lines(found[-1]):
            out.result(line)
    out.json({"files": [one.as_json() for one in found]})
    return OK if all(one.known for one in found) else NOTHING_MATCHED
