"""Every command and flag, with the sentence that `--help` and docs/cli.md show. The letters are pip's."""

from __future__ import annotations

import argparse
from typing import Any

from holdfast import __version__

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
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_pull(commands)
    _add_list(commands)
    _add_check(commands)
    return parser


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
    add(
        "--timeout", type=_seconds, default=30.0, metavar="SECONDS", help="for a connection or a silence (30)"
    )
    add("--retries", type=_retries, default=5, metavar="N", help="of one request without any progress (5)")
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


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise ValueError(text)
    return value


def _retries(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 1000:
        raise ValueError(text)
    return value


def _workers(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MAX_WORKERS:
        raise ValueError(text)
    return value


_seconds.__name__, _retries.__name__, _workers.__name__ = (
    "seconds",
    "count",
    "count",
)  # what argparse calls them


def _add_pull(commands: Any) -> None:
    pull = commands.add_parser(
        "pull",
        aliases=["install", "download"],
        help="fetch and verify models",
        description="Resolve, plan, fetch, verify, publish into the cache. The last line on stdout is the path.",
    )
    pull.set_defaults(command="pull")
    pull.add_argument("references", nargs="+", metavar="REF", help=REFERENCE_HELP)
    pull.add_argument(
        "-d", "--dest", "--local-dir", default=None, metavar="DIR", help="a plain folder, not the cache"
    )
    pull.add_argument(
        "--include", action="append", default=[], metavar="PATTERN", help="only paths like this; repeatable"
    )
    pull.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN", help="no paths like this; repeatable"
    )
    pull.add_argument("--dry-run", action="store_true", help="show the plan, change nothing")
    pull.add_argument(
        "--force", action="store_true", help="fetch again what is here, replace other files in --dest"
    )
    pull.add_argument("--max-workers", type=_workers, default=8, metavar="N", help="connections at once (8)")
    pull.add_argument("-y", "--yes", action="store_true", help="do not ask before a large pull")
    _add_global_flags(pull, is_root=False)


def _add_list(commands: Any) -> None:
    listing = commands.add_parser(
        "list", aliases=["ls"], help="what the cache holds", description="Reads the disk only."
    )
    listing.set_defaults(command="list")
    listing.add_argument("--sort", choices=("name", "size", "time"), default="name", help="the order (name)")
    _add_global_flags(listing, is_root=False)


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        aliases=["verify"],
        help="re-hash what the cache holds",
        description="Re-hash cached files and compare with the digest each must have. 1 if one is wrong.",
    )
    check.set_defaults(command="check")
    check.add_argument(
        "references", nargs="*", metavar="REF", help="org/name or org/name@revision; all if none"
    )
    check.add_argument("--quick", action="store_true", help="compare sizes only")
    check.add_argument("--repair", action="store_true", help="fetch damaged files again from the index")
    _add_global_flags(check, is_root=False)
