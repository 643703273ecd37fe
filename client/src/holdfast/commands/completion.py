"""`holdfast completion SHELL`"""

from __future__ import annotations

import argparse

from holdfast.completing import SHELLS, script_for
from holdfast.errors import OK
from holdfast.outline import read_outline
from holdfast.output import Output
from holdfast.settings import Settings

DESCRIPTION = "Print a script that completes commands, flags and the names of cached repos in a shell."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The shell."""
    parser.add_argument("shell", choices=tuple(SHELLS), metavar="SHELL", help="bash, zsh, fish or powershell")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Prints the script; its first line says where to put it."""
    script = script_for(args.shell, read_outline())
    out.json({"shell": args.shell, "script": script})
    out.result(script.rstrip("\n"))
    return OK
