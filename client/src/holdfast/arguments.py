"""The parser: the global flags, and a parser for each command that fills itself. The letters are pip's."""

from __future__ import annotations

import argparse
from typing import Any

from holdfast import __version__
from holdfast.commands import COMMANDS, Command

REFERENCE_HELP = "[index/]org/name[@revision][:variant][//path]"
MAX_WORKERS = 64


def build_parser() -> argparse.ArgumentParser:
    """The parser. Global flags may stand before or after the command."""
    parser = argparse.ArgumentParser(
        prog="holdfast",
        description="Pull open model weights, verified, into the cache that other tools already read.",
        epilog="Exit codes: 0 ok, 1 failed, 2 usage or unexpected error, 23 nothing matched, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    _add_global_flags(parser, is_root=True)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_CommandParser
    )
    for command in COMMANDS.values():
        one = commands.add_parser(command.name, aliases=list(command.aliases), help=command.help)
        one.source = command
        one.set_defaults(command=command.name)
    return parser


def command_parsers(root: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of every command, by name, complete: for documents and completion, which need all of them."""
    action = next(action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    for parser in action.choices.values():
        parser.fill()
    return {name: action.choices[name] for name in COMMANDS}


def _add_global_flags(parser: argparse.ArgumentParser, *, is_root: bool) -> None:
    """After the command a flag that is not given must not undo the one before it, so it has no default there."""

    def add(*names: str, default: Any, **options: Any) -> None:
        group.add_argument(*names, default=default if is_root else argparse.SUPPRESS, **options)

    group = parser.add_argument_group("global flags")
    add(
        "-v", "--verbose", action="count", default=0, help="-v shows every request, -vv a traceback on errors"
    )
    add("-q", "--quiet", action="store_true", default=False, help="no plan, no progress; errors only")
    add("--no-color", action="store_true", default=False, help="no colour (also NO_COLOR)")
    add(
        "--progress-bar",
        choices=("on", "off", "json"),
        default="on",
        help="on: live lines on a terminal, plain lines without; json: one object per line on stderr",
    )
    add(
        "--json",
        action="store_true",
        default=False,
        help="the result, or the error, as one JSON object on stdout",
    )
    add("--no-input", action="store_true", default=False, help="never ask")
    add("--timeout", type=seconds, default=30.0, metavar="SECONDS", help="for a connection or a silence (30)")
    add("--retries", type=number, default=5, metavar="N", help="of one request without any progress (5)")
    add(
        "--cache-dir",
        default=None,
        metavar="DIR",
        help="the cache (HOLDFAST_CACHE_DIR, HF_HUB_CACHE, HF_HOME)",
    )
    add(
        "--offline",
        action="store_true",
        default=False,
        help="use the cache only (HOLDFAST_OFFLINE, HF_HUB_OFFLINE)",
    )
    add(
        "-i",
        "--index-url",
        default=None,
        metavar="URL",
        help="the index (HOLDFAST_INDEX_URL, HF_ENDPOINT; otherwise http://127.0.0.1:8000)",
    )


class _CommandParser(argparse.ArgumentParser):
    """The parser of one command, which reads the command's module when it is first used: `holdfast list` never pays
    for what `holdfast pull` imports.
    """

    source: Command | None = None

    def fill(self) -> None:
        """Afterwards the parser knows the command's arguments, and the global flags."""
        if self.source is not None:
            module, self.source = self.source.module(), None
            self.description = module.DESCRIPTION
            module.add_arguments(self)
            _add_global_flags(self, is_root=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.fill()
        return super().parse_known_args(args, namespace)


def seconds(text: str) -> float:
    """The type of a flag that takes a time."""
    value = float(text)
    if not 0 < value <= 86400:
        raise ValueError(text)
    return value


def number(text: str) -> int:
    """The type of a flag that takes a small count."""
    value = int(text)
    if not 0 <= value <= 1000:
        raise ValueError(text)
    return value


def workers(text: str) -> int:
    """The type of --max-workers."""
    value = int(text)
    if not 1 <= value <= MAX_WORKERS:
        raise ValueError(text)
    return value


number.__name__, workers.__name__ = "count", "count"  # what argparse calls them
