"""`holdfast logout`"""

from __future__ import annotations

import argparse
import os

from holdfast.configuration.credentials import drop_all, drop_login, tokens_file
from holdfast.errors import OK
from holdfast.network.urls import origin, show_origin
from holdfast.output import Output
from holdfast.settings import Settings

DESCRIPTION = (
    "Forget the token that login keeps for the index (-i). The index still accepts it: revoke it there."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `logout`."""
    parser.add_argument("--all", action="store_true", help="forget the tokens of every index")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Afterwards no token is kept for the index. Safe to run twice."""
    path, place = tokens_file(os.environ), show_origin(origin(settings.index_url))
    dropped = drop_all(path) if args.all else drop_login(path, settings.index_url)
    where = "any index" if args.all else place
    out.json({"index": None if args.all else settings.index_url, "logged_out": dropped})
    if dropped:
        out.note(
            f"No token is kept for {where} any more. The index still accepts it until it is revoked there."
        )
    else:
        out.note(f"There was no token for {where}.")
    return OK
