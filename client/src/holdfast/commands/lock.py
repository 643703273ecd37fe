"""`holdfast lock [FILE]`"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import FAILED, OK, UsageError
from holdfast.lists.lockfile import LockedModel, read_lock, write_lock
from holdfast.lists.locking import Upgrade, differences, make_lock, moved
from holdfast.lists.requirements import read_requirements
from holdfast.lists.wishes import policy_of
from holdfast.output import Output, width
from holdfast.settings import Settings
from holdfast.text import count, format_bytes, printable, shorten

DESCRIPTION = "Write down exactly which bytes the models of a list are: models.txt becomes models.lock."
LIST = "models.txt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `lock`."""
    add = parser.add_argument
    add("file", nargs="?", default=LIST, metavar="FILE", help=f"the list ({LIST})")
    add(
        "-c",
        "--constraint",
        action="append",
        default=[],
        metavar="FILE",
        help="the policy in FILE; repeatable",
    )
    add(
        "--require-validated",
        action="store_true",
        default=argparse.SUPPRESS,
        help="lock only weights that the index has run and found good",
    )
    add("--upgrade", action="store_true", help="move every model to where its revision points now")
    add(
        "--upgrade-model",
        action="append",
        default=[],
        metavar="NAME",
        help="move only this one: org/name, or its whole line; repeatable",
    )
    add("--check", action="store_true", help="change nothing; exit with 1 if the lock is not up to date")
    add("--dry-run", action="store_true", help="show what would change")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Writes the lock next to the list. The last line on stdout is its path."""
    wanted = Path(args.file)
    path = lock_beside(wanted)
    requirements = read_requirements([wanted], [Path(name) for name in args.constraint], os.environ)
    settings = requirements.settings(settings, index_is_given=args.index_url is not None)
    policy, old = policy_of(requirements, settings), read_lock(path)
    if args.check:
        return _check(
            differences(requirements.models, old or (), policy), path, out, is_there=old is not None
        )
    upgrade = Upgrade(args.upgrade, tuple(args.upgrade_model))
    models = make_lock(
        requirements.models, old or (), upgrade=upgrade, policy=policy, settings=settings, out=out
    )
    is_new = not args.dry_run and write_lock(path, models)
    _report(old or (), models, out)
    out.result(str(path))
    out.json({"lock": str(path), "written": is_new, "models": _as_json(old or (), models)})
    return OK


def lock_beside(wanted: Path) -> Path:
    """`models.lock` for `models.txt`. Raises UsageError for a list that is called like its lock."""
    path = wanted.with_suffix(".lock")
    if path == wanted:
        raise UsageError(
            f"{printable(wanted)} is a lock, not a list", hint="name the list: holdfast lock models.txt"
        )
    return path


def _check(found: list[str], path: Path, out: Output, *, is_there: bool) -> int:
    out.json({"lock": str(path), "up_to_date": is_there and not found, "differences": found})
    if not is_there:
        out.note(f"there is no {printable(path)}: holdfast lock makes it")
    for line in found:
        out.result(printable(line))
    if is_there and not found:
        out.note(f"{printable(path)} is up to date")
    return OK if is_there and not found else FAILED


def _report(old: Sequence[LockedModel], new: Sequence[LockedModel], out: Output) -> None:
    changes = moved(old, new)
    for before, model in changes:
        if before is None:
            out.note(_line("locked", model.requirement, f"at {model.commit[:12]}"))
        elif before.commit == model.commit:
            out.note(_line("changed", model.requirement, f"at {model.commit[:12]}"))
        else:
            out.note(_line("moved", model.requirement, f"from {before.commit[:12]} to {model.commit[:12]}"))
    texts = {model.requirement for model in new}
    for model in old:
        if model.requirement not in texts:
            out.note(_line("removed", model.requirement, ""))
    size = sum(model.size_bytes for model in new)
    kept = len(new) - len(changes)
    out.note(f"{count(len(new), 'model')}, {format_bytes(size)}: {kept} as before, {len(changes)} locked now")


def _line(what: str, requirement: str, commits: str) -> str:
    room = width() - len(f"  {what:7}   {commits}")
    return f"  {what:7}  {shorten(printable(requirement), room)} {commits}".rstrip()


def _as_json(old: Sequence[LockedModel], new: Sequence[LockedModel]) -> list[dict[str, Any]]:
    before = {model.requirement: model.commit for model in old}
    return [
        {
            "requirement": model.requirement,
            "index": model.index,
            "repo_id": model.repo_id,
            "commit": model.commit,
            "commit_before": before.get(model.requirement),
            "variant": model.variant,
            "licence": model.licence,
            "files": len(model.files),
            "size_bytes": model.size_bytes,
        }
        for model in new
    ]
