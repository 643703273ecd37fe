"""`holdfast whoami`"""

from __future__ import annotations

import argparse

from holdfast.configuration.logging_in import who_am_i
from holdfast.errors import OK
from holdfast.network.urls import origin, show_origin
from holdfast.output import Output
from holdfast.settings import Settings

DESCRIPTION = "Ask the index (-i) whom it takes us for."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No flags of its own."""


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Prints the user's name; with organisations and what the token may do on stderr."""
    person = who_am_i(settings.index_url, settings.token, settings, out)
    out.json(person.as_json(settings.index_url))
    out.result(person.name)
    facts = [show_origin(origin(settings.index_url))]
    facts += [f"{person.role} token"] if person.role else []
    facts += [f"in {', '.join(person.organisations)}"] if person.organisations else []
    out.note("; ".join(facts))
    return OK
