"""`holdfast run REF [PROMPT]`"""

from __future__ import annotations

import argparse
import os
import shlex

from holdfast.arguments import REFERENCE_HELP
from holdfast.choosing.locating import locate
from holdfast.choosing.selection import Patterns
from holdfast.errors import OK
from holdfast.lists.requirements import read_requirements
from holdfast.lists.wishes import wishes_of
from holdfast.output import Output
from holdfast.pulling import Wish, pull
from holdfast.running import PROGRAMS, command_for, find_program, hand_over
from holdfast.settings import Settings
from holdfast.text import printable

DESCRIPTION = "Pull a model if it is not here, and hand it to llama.cpp or vLLM, which must be installed."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `run`."""
    add = parser.add_argument
    add("reference", metavar="REF", help=REFERENCE_HELP)
    add("prompt", nargs="?", default=None, metavar="PROMPT", help="what to say to it (llama-cli)")
    add(
        "--with",
        dest="program",
        choices=tuple(PROGRAMS),
        default=None,
        help="the program (the first that fits)",
    )
    add("--args", default="", metavar="TEXT", help='more for the program: --args="-c 4096 --temp 0"')
    add("--dry-run", action="store_true", help="pull, and print the command instead of running it")
    add("-y", "--yes", action="store_true", help="do not ask before a large pull")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Looks for the program first: nothing is pulled that nobody here can run."""
    found = find_program(args.program)
    reference = locate(args.reference, settings, out)
    wish = Wish(patterns=Patterns(), dest=None, force=False, dry_run=False, yes=args.yes)
    nothing_else = read_requirements([], [], os.environ)
    ((reference, wish),) = wishes_of([reference], nothing_else, wish, settings)
    pulled = pull(reference, wish, settings, out)
    command = command_for(found, pulled.path, args.prompt, args.args)
    if args.dry_run or settings.json:
        out.result(shlex.join(command))
        out.json({"command": command, "pulled": pulled.as_json()})
        return OK
    out.note(printable(shlex.join(command)))
    return hand_over(command)
