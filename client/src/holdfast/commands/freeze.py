"""`holdfast freeze`"""

from __future__ import annotations

import argparse

from holdfast.errors import OK
from holdfast.lists.freezing import freeze, freeze_lines
from holdfast.output import Output
from holdfast.settings import Settings
from holdfast.text import count

DESCRIPTION = "Print what the cache holds as the lines of a models.txt, with hashes. Reads the disk only."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`freeze` has no flags of its own."""


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Prints the lines; what is incomplete or has no safe name is left out."""
    found = freeze(settings.cache_dir)
    for line in freeze_lines(found):
        out.result(line)
    out.json({"models": [{"requirement": one.text, "hashes": list(one.hashes)} for one in found]})
    out.note(count(len(found), "model"))
    return OK
