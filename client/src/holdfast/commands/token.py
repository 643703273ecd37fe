"""`holdfast token list|show|path`"""

from __future__ import annotations

import argparse
import os

from holdfast.configuration.credentials import read_logins, tokens_file
from holdfast.errors import OK, AuthFailed
from holdfast.network.urls import origin, show_origin
from holdfast.output import Output, table
from holdfast.settings import Settings
from holdfast.text import count, printable

DESCRIPTION = "The tokens that login keeps. Only `show` prints one."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A parser for each action."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="for which indexes a token is kept, and whose it is")
    actions.add_parser("show", help="print the token that is sent to the index (-i)")
    actions.add_parser("path", help="the file they are kept in")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Does the action."""
    return {"list": _list, "show": _show, "path": _path}[args.action](settings, out)


def _list(settings: Settings, out: Output) -> int:
    kept = {show_origin(place): one.user for place, one in read_logins(tokens_file(os.environ)).items()}
    out.json({"tokens": [{"index": place, "user": user} for place, user in sorted(kept.items())]})
    if kept:
        rows = [(printable(place), printable(user)) for place, user in sorted(kept.items())]
        for line in table(("INDEX", "USER"), rows):
            out.result(line)
    out.note(f"{count(len(kept), 'token')} in {printable(tokens_file(os.environ))}")
    return OK


def _show(settings: Settings, out: Output) -> int:
    token = settings.token
    if token is None:
        raise AuthFailed(
            f"there is no token for {show_origin(origin(settings.index_url))}",
            hint="holdfast login keeps one.",
        )
    out.json({"index": settings.index_url, "token": token})
    out.secret(token)
    return OK


def _path(settings: Settings, out: Output) -> int:
    path = tokens_file(os.environ)
    out.json({"path": str(path)})
    out.result(str(path))
    return OK
