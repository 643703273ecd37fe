"""`holdfast push REF DIR`"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from holdfast.arguments import workers
from holdfast.asking.work import index_url_of
from holdfast.choosing.selection import Patterns
from holdfast.errors import OK, Offline, UsageError
from holdfast.network.connecting import open_transport
from holdfast.output import Output
from holdfast.pushing.push import Offer, check_reference, push
from holdfast.reference import Reference, parse_reference
from holdfast.settings import Settings

DESCRIPTION = "Bring a folder to an index: hash, send what it lacks, commit, verify. Prints the commit."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `push`."""
    add = parser.add_argument
    add("reference", metavar="REF", help="org/name[@branch][//folder]")
    add("folder", metavar="DIR", help="the folder, or one file")
    add("-m", "--message", default=None, metavar="TEXT", help="the commit's title")
    add("--revision", default=None, metavar="BRANCH", help="the branch (main), as @branch")
    add("--create", action="store_true", help="make the repo if it is not there")
    add("--private", action="store_true", help="as --create, and only those who may see it do")
    add("--include", action="append", default=[], metavar="PATTERN", help="only paths like this; repeatable")
    add("--exclude", action="append", default=[], metavar="PATTERN", help="no paths like this; repeatable")
    add("--dry-run", action="store_true", help="hash and compare, change nothing")
    add("--max-workers", type=workers, metavar="N", help="files sent at once (8)")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Pushes the folder; prints `org/name@commit`."""
    if settings.offline:
        raise Offline("offline: a push needs the index", hint="Run without --offline.")
    reference = _reference(args)
    url = index_url_of(reference, settings)
    if settings.token_for(url) is None:
        out.note(
            "note: no token for this index; most refuse who has none (HOLDFAST_TOKEN, or holdfast login)"
        )
    folder = Path(args.folder).expanduser().absolute()
    offer = Offer(
        Patterns(tuple(args.include), tuple(args.exclude)), args.message or f"Push {folder.name}",
        create=args.create or args.private, private=args.private, dry_run=args.dry_run,
    )  # fmt: skip
    transport = open_transport(url, settings, out)
    pushed = push(reference, folder, offer, url=url, transport=transport, settings=settings, out=out)
    if pushed.commit is not None:
        out.result(f"{pushed.repo_id}@{pushed.commit}")
    out.json({**pushed.as_json(), "dry_run": offer.dry_run})
    return OK


def _reference(args: argparse.Namespace) -> Reference:
    reference = parse_reference(args.reference)
    if args.revision is not None:
        if "@" in args.reference:
            raise UsageError("the branch is named twice, after @ and by --revision", hint="leave one out")
        reference = replace(reference, revision=args.revision)
    check_reference(reference)
    return reference
