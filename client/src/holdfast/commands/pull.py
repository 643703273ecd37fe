"""`holdfast pull REF…`"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from holdfast.arguments import REFERENCE_HELP, workers
from holdfast.cache.linking import LINK_MODES
from holdfast.choosing.locating import locate
from holdfast.choosing.selection import Patterns
from holdfast.errors import OK, UsageError
from holdfast.lists.requirement_lines import naming
from holdfast.lists.requirements import read_requirements
from holdfast.lists.wishes import at_revision, wishes_of
from holdfast.output import Output
from holdfast.pulling import Wish, pull
from holdfast.settings import Settings

DESCRIPTION = "Resolve, plan, fetch, verify, publish into the cache. The last line on stdout is the path."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `pull`."""
    add = parser.add_argument
    add("references", nargs="*", metavar="REF", help=REFERENCE_HELP)
    add(
        "-r",
        "--requirement",
        action="append",
        default=[],
        metavar="FILE",
        help="all models that FILE lists; repeatable",
    )
    add(
        "-c",
        "--constraint",
        action="append",
        default=[],
        metavar="FILE",
        help="the policy in FILE; repeatable",
    )
    add("--revision", default=None, metavar="REV", help="the branch, tag or commit, where a REF names none")
    add("-d", "--dest", "--local-dir", default=None, metavar="DIR", help="a plain folder, not the cache")
    add("--include", action="append", default=[], metavar="PATTERN", help="only paths like this; repeatable")
    add("--exclude", action="append", default=[], metavar="PATTERN", help="no paths like this; repeatable")
    add_requires(parser)
    add("--dry-run", action="store_true", help="show the plan, change nothing")
    add("--force", action="store_true", help="fetch again what is here, replace other files in --dest")
    add_link_mode(parser)
    add("--max-workers", type=workers, metavar="N", help="connections at once (8)")
    add("-y", "--yes", action="store_true", help="do not ask before a large pull")


def add_link_mode(parser: argparse.ArgumentParser) -> None:
    """The flags about bytes that this machine has already."""
    mode_help = "how bytes that are here come to their place: reflink, hardlink or copy"
    parser.add_argument("--link-mode", choices=LINK_MODES, default=None, help=mode_help)
    adopt_help = "do not take files from other tools' stores"
    parser.add_argument("--no-adopt", dest="adopt", action="store_false", help=adopt_help)


def add_requires(parser: argparse.ArgumentParser) -> None:
    """The two flags that may also be configured: not given, they say nothing."""
    for flag, words in (
        ("--require-hashes", "take only files whose hash is written down"),
        ("--require-validated", "take only weights that the index has run and found good"),
    ):
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=words)


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Pulls each model in turn; the last line on stdout is a path. The first failure ends the run."""
    references = [at_revision(locate(text, settings, out), args.revision) for text in args.references]
    requirements = read_requirements(
        [Path(name) for name in args.requirement], [Path(name) for name in args.constraint], os.environ
    )
    if not references and not args.requirement:
        raise UsageError("nothing to pull: name a REF, or a list with -r", hint="holdfast pull --help")
    settings = requirements.settings(settings, index_is_given=args.index_url is not None)
    wish = Wish(
        patterns=Patterns(tuple(args.include), tuple(args.exclude)),
        dest=None if args.dest is None else Path(args.dest).expanduser().absolute(),
        force=args.force,
        dry_run=args.dry_run,
        yes=args.yes,
        adopt=args.adopt,
        link_mode=args.link_mode,
    )
    pulled = []
    for reference, one in wishes_of(references, requirements, wish, settings):
        with naming(one.pins.place):
            pulled.append(pull(reference, one, settings, out))
        if not one.dry_run:
            out.result(str(pulled[-1].path))
    out.json({"pulled": [one.as_json() for one in pulled], "dry_run": wish.dry_run})
    return OK
