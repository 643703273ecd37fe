"""`holdfast login`"""

from __future__ import annotations

import argparse
import os
import sys
from getpass import getpass

from holdfast.configuration.credentials import Login, clean_token, keep_login, tokens_file
from holdfast.configuration.logging_in import check_may_log_in, who_am_i
from holdfast.errors import OK, Declined, UsageError
from holdfast.network.urls import origin, show_origin
from holdfast.output import Output
from holdfast.prompts import can_ask
from holdfast.settings import Settings
from holdfast.text import printable

DESCRIPTION = "Keep a token for the index (-i), after asking the index whose it is."
MAX_TOKEN_BYTES = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `login`."""
    one = parser.add_mutually_exclusive_group()
    one.add_argument(
        "--token", metavar="TOKEN", help="the token; others can see it among the running programs"
    )
    one.add_argument("--token-stdin", action="store_true", help="read the token from standard input")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Afterwards the token is kept for the index, readable by its owner only."""
    check_may_log_in(settings.index_url, settings)
    place = show_origin(origin(settings.index_url))
    token = _token(args, place, settings)
    person = who_am_i(settings.index_url, token, settings, out)
    path = tokens_file(os.environ)
    keep_login(path, settings.index_url, Login(person.name, token))
    out.json({**person.as_json(settings.index_url), "path": str(path)})
    role = f", {person.role} token" if person.role else ""
    out.note(f"Logged in to {place} as {person.name}{role}; kept in {printable(path)}")
    if os.environ.get("HOLDFAST_TOKEN", "").strip():
        out.note("  HOLDFAST_TOKEN is set and wins over it.")
    return OK


def _token(args: argparse.Namespace, place: str, settings: Settings) -> str:
    if args.token is not None:
        return clean_token("--token", args.token)
    if args.token_stdin:
        return clean_token("standard input", sys.stdin.read(MAX_TOKEN_BYTES))
    if not can_ask(settings):
        raise UsageError("nobody is here to ask for a token", hint="Pipe it in: holdfast login --token-stdin")
    typed = getpass(f"Token for {printable(place)} (not shown): ", stream=sys.stderr)
    if not typed.strip():
        raise Declined("no token given", hint="Make one on the settings page of the index.")
    return clean_token("what was typed", typed)
