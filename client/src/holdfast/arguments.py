"""The parser: the global flags, and a parser for each command that fills itself. The letters are pip's."""

from __future__ import annotations

import argparse
import re
from typing import Any, Callable

from holdfast import __version__
from holdfast.commands import COMMANDS, Command
from holdfast.text import parse_bytes

REFERENCE_HELP = "[index/]org/name[@revision][:variant][//path]"
MAX_WORKERS = 64
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
REPEATABLE = ("extra_index_url", "find_links", "trusted_host")


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
        dest="command", metavar="COMMAND", required=True, parser_class=_CommandParser, action=_Commands
    )
    parser.usage = "holdfast [-h] [--version] [global flags] COMMAND ..."
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

    def add(*names: str, default: Any = None, **options: Any) -> None:
        group.add_argument(*names, default=default if is_root else argparse.SUPPRESS, **options)

    group = parser.add_argument_group("global flags")
    _add_output_flags(add)
    group = parser.add_argument_group("where models come from and go to")
    _add_index_flags(add)
    group = parser.add_argument_group("network")
    _add_network_flags(add)


def _add_output_flags(add: Callable[..., None]) -> None:
    on: dict[str, Any] = {"action": "store_true", "default": False}
    verbose_help = "-v shows every request, -vv a traceback on errors"
    add("-v", "--verbose", action="count", default=0, help=verbose_help)
    add("-q", "--quiet", help="no plan, no progress; errors only", **on)
    add("--no-color", help="no colour (also NO_COLOR)", **on)
    bar_help = "on: live lines on a terminal, plain lines without; json: one object per line on stderr"
    add("--progress-bar", choices=("on", "off", "json"), help=bar_help)
    add("--json", help="the result, or the error, as one JSON object on stdout", **on)
    add("--no-input", help="never ask", **on)
    add("--isolated", help="look at no variables, no configuration files and no kept tokens", **on)
    add("--log", metavar="FILE", help="add everything that is said and asked to this file, with times")


def _add_index_flags(add: Callable[..., None]) -> None:
    on: dict[str, Any] = {"action": "store_true", "default": False}
    index_help = "the index (HOLDFAST_INDEX_URL, HF_ENDPOINT; otherwise http://127.0.0.1:8000)"
    add("-i", "--index-url", metavar="URL", help=index_help)
    extra_help = "an index that is asked for what those before it do not know; repeatable"
    add("--extra-index-url", metavar="URL", action="append", help=extra_help)
    add("--no-index", help="ask no index, only --find-links", **on)
    add("--find-links", metavar="DIR|URL", action="append", help="a folder or page of models; repeatable")
    add("--cache-dir", metavar="DIR", help="the cache (HOLDFAST_CACHE_DIR, HF_HUB_CACHE, HF_HOME)")
    add("--no-cache-dir", help="keep nothing in a cache: for pull with --dest", **on)
    add("--offline", help="use the cache only (HOLDFAST_OFFLINE, HF_HUB_OFFLINE)", **on)


def _add_network_flags(add: Callable[..., None]) -> None:
    add("--timeout", type=seconds, metavar="SECONDS", help="for a connection or a silence (30)")
    add("--retries", type=number, metavar="N", help="of one request without any progress (5)")
    add("--limit-rate", type=size, metavar="BYTES", help="per second, all together: 500k, 10M (no limit)")
    add("--proxy", metavar="URL", help="for every request (otherwise HTTPS_PROXY and its like)")
    add("--cert", metavar="FILE", help="certificate authorities to believe, instead of the system's")
    add("--client-cert", metavar="FILE[,KEY]", help="our certificate, for an index that asks for one")
    trusted_help = "HOST or HOST:PORT whose certificate is not checked; repeatable"
    add("--trusted-host", metavar="HOST", action="append", help=trusted_help)


class _Commands(argparse._SubParsersAction):  # type: ignore[type-arg]
    """What is repeatable may be given before and after the command, and both count."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        before = {name: getattr(namespace, name, None) or [] for name in REPEATABLE}
        super().__call__(parser, namespace, values, option_string)
        for name, given in before.items():
            after = getattr(namespace, name, None) or []
            setattr(namespace, name, given if after is given else [*given, *after])


class _CommandParser(argparse.ArgumentParser):
    """The parser of one command, which reads the command's module when it is first used: `holdfast list` never pays
    for what `holdfast pull` imports.
    """

    source: Command | None = None  # None for what follows a command, as `info` in `holdfast cache info`
    is_filled = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register("action", "parsers", _Commands)

    def fill(self) -> None:
        """Afterwards the parser knows the command's arguments, and the global flags."""
        if self.is_filled:
            return
        self.is_filled = True
        if self.source is not None:
            module = self.source.module()
            self.description = module.DESCRIPTION
            module.add_arguments(self)
        own = _COLOUR.sub("", self.format_usage()).partition(":")[2].strip()
        _add_global_flags(self, is_root=False)
        self.usage = f"{own.replace('%', '%%')} [global flags]"  # twenty of them would hide the command's own

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


def size(text: str) -> int:
    """The type of a flag that takes a number of bytes: 500k, 10M, 200G."""
    return parse_bytes(text)


number.__name__, workers.__name__ = "count", "count"  # what argparse calls them
