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
        Command("lock", "write down which bytes the models of a list are"),
        Command("sync", "make the cache, or a folder, hold what a lock names"),
        Command("freeze", "print what the cache holds as a list of models"),
        Command("list", "what the cache holds", ("ls",)),
        Command("search", "find models on the index"),
        Command("show", "what an index knows of a model", ("info",)),
        Command("index", "which revisions and variants there are"),
        Command("hash", "the sha256 of files, as models.txt takes it"),
        Command("identify", "ask the index what files are"),
        Command("check", "re-hash what the cache holds", ("verify",)),
        Command("remove", "take models out of the cache", ("uninstall", "rm")),
        Command("cache", "look at the cache, and make room in it"),
        Command("bundle", "carry models by hand: export, import, verify"),
        Command("serve", "serve the cache to other machines, read-only"),
        Command("push", "bring a folder to an index"),
        Command("convert", "ask a server to quantise a model"),
        Command("validate", "ask a server to test a model, or what it found"),
        Command("mirror", "keep repos on a server as an upstream has them"),
        Command("doctor", "look at what a pull depends on"),
        Command("config", "look at the configuration, and change it"),
        Command("login", "keep a token for an index"),
        Command("logout", "forget it"),
        Command("whoami", "ask an index whom it takes us for"),
        Command("token", "the tokens that are kept"),
        Command("run", "hand a model to llama.cpp or vLLM"),
        Command("completion", "print completion for a shell"),
        Command("self", "renew this program"),
    )
}
