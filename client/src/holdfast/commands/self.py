"""`holdfast self update`"""

from __future__ import annotations

import argparse
import shlex
import subprocess

from holdfast import __version__
from holdfast.errors import FAILED, OK, Declined, ProgramMissing
from holdfast.output import Output
from holdfast.prompts import can_ask, confirm
from holdfast.settings import Settings
from holdfast.updating import read_installation

DESCRIPTION = "Renew this program by the installer that brought it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `self`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    update = actions.add_parser("update", help="install the newest holdfast")
    update.add_argument("-y", "--yes", action="store_true", help="do not ask")
    update.add_argument("--dry-run", action="store_true", help="print the command, run nothing")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Says how it was installed, prints the exact command, asks, and runs it."""
    found = read_installation()
    command = shlex.join(found.command)
    out.note(f"holdfast {__version__}, installed {found.how}.")
    out.result(command)
    if args.dry_run:
        out.json(
            {"version": __version__, "how": found.how, "command": list(found.command), "exit_code": None}
        )
        return OK
    if not args.yes and not (can_ask(settings) and confirm("Run this?", default=False)):
        raise Declined("not updated", hint="-y answers yes beforehand; or run the command above yourself.")
    try:
        code = subprocess.call(found.command)
    except OSError as error:
        raise ProgramMissing(
            f"cannot run {found.command[0]}: {error.strerror}", hint="Install it, or install holdfast anew."
        ) from error
    out.json({"version": __version__, "how": found.how, "command": list(found.command), "exit_code": code})
    return OK if code == 0 else FAILED
