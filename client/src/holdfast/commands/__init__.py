"""Every command: its sentence and its other names. The module of the same name holds the rest, and is read when used.

A module offers `DESCRIPTION`, `add_arguments(parser)` and `run(args, settings, out) -> exit code`: it is a door to a
verb elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Command:
    """One line of `holdfast --help`."""

    name: str
    help: str
    aliases: tuple[str, ...] = ()

    def module(self) -> Any:
        """The door. Importing it is what costs time."""
        return import_module(f"{__name__}.{self.name}")


COMMANDS = {
    command.name: command
    for command in (
        Command("pull", "fetch and verify models", ("install", "download")),
        Command("list", "what the cache holds", ("ls",)),
        Command("check", "re-hash what the cache holds", ("verify",)),
        Command("bundle", "carry models by hand: export, import, verify"),
        Command("serve", "serve the cache to other machines, read-only"),
        Command("login", "keep a token for an index"),
        Command("logout", "forget it"),
        Command("whoami", "ask an index whom it takes us for"),
        Command("token", "the tokens that are kept"),
        Command("completion", "print completion for a shell"),
    )
}
