"""`holdfast sync [LOCK]`"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.arguments import workers
from holdfast.cache.removal_report import agree, cut_json, cut_lines, freed_line
from holdfast.cache.removing import remove
from holdfast.cache.trimming import Extra, is_ours, mark_folder, plan_cache, plan_folder, trim_folder
from holdfast.choosing.selection import Patterns
from holdfast.errors import OK, Declined, LockOutdated, NotFound
from holdfast.lists.lockfile import LockedModel, read_lock, write_lock
from holdfast.lists.locking import Upgrade, differences, make_lock
from holdfast.lists.requirements import Requirements, read_requirements
from holdfast.lists.syncing import agree_to_all, check_lock, sync_model
from holdfast.lists.wishes import policy_of
from holdfast.output import Output
from holdfast.prompts import can_ask, confirm
from holdfast.pulling import Wish
from holdfast.settings import Settings
from holdfast.text import count, format_bytes, printable

DESCRIPTION = (
    "Make the cache, or a folder, hold exactly what a lock names. A line on stdout is the path of a model."
)
LOCK = "models.lock"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `sync`."""
    add = parser.add_argument
    add("file", nargs="?", default=LOCK, metavar="LOCK", help=f"the lock ({LOCK}); its list lies beside it")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--frozen", action="store_true", help="take the lock as it is, do not look at the list"
    )
    which.add_argument("--locked", action="store_true", help="fail if the lock is not what the list asks for")
    add("-d", "--dest", "--local-dir", default=None, metavar="DIR", help="a plain folder, not the cache")
    add("--prune", action="store_true", help="remove what the lock does not name")
    add(
        "--require-validated",
        action="store_true",
        default=argparse.SUPPRESS,
        help="take only weights that the index has run and found good",
    )
    add("--dry-run", action="store_true", help="show what would be done, change nothing")
    add("--force", action="store_true", help="fetch again what is here")
    add("--max-workers", type=workers, metavar="N", help="connections at once (8)")
    add("-y", "--yes", action="store_true", help="do not ask before a large pull or a removal")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Afterwards what is locked is here, and with --prune nothing else is."""
    path = Path(args.file)
    models, settings = _models(args, path, settings, out)
    dest = None if args.dest is None else Path(args.dest).expanduser().absolute()
    wish = Wish(Patterns(), dest, force=args.force, dry_run=args.dry_run, yes=args.yes)
    check_lock(models, wish, settings)
    wish = agree_to_all(models, wish, settings)
    if dest is not None:
        wish = replace(wish, replaces=is_ours(dest) if args.dry_run else mark_folder(dest))
    index_url = settings.index_url if args.index_url is not None else None
    pulled = []
    for model in models:
        pulled.append(sync_model(model, wish, settings, out, index_url=index_url))
        if not wish.dry_run:
            out.result(str(pulled[-1].path))
    fetched = sum(one.arrived_bytes for one in pulled)
    whole = sum(model.size_bytes for model in models)
    out.note(
        f"{count(len(models), 'model')} of {printable(path)}, {format_bytes(whole)}: {format_bytes(fetched)} fetched."
    )
    removed = _prune(models, wish, settings, out) if args.prune else {}
    out.json(
        {
            "lock": str(path),
            "pulled": [one.as_json() for one in pulled],
            "dry_run": wish.dry_run,
            **({"pruned": removed} if args.prune else {}),
        }
    )
    return OK


def _models(
    args: argparse.Namespace, path: Path, settings: Settings, out: Output
) -> tuple[Sequence[LockedModel], Settings]:
    """What to take: the lock as it is, or as its list wants it now. Writes the lock if that changes it."""
    old, listed = read_lock(path), path.with_suffix(".txt")
    if args.frozen or not listed.is_file() or listed == path:
        if old is None:
            raise NotFound(f"there is no {printable(path)}", hint="holdfast lock makes it from models.txt.")
        return old, settings
    requirements = read_requirements([listed], [], os.environ)
    settings = requirements.settings(settings, index_is_given=args.index_url is not None)
    found = differences(requirements.models, old or (), policy_of(requirements, settings))
    if old is not None and not found:
        return old, settings
    if args.locked:
        raise LockOutdated(
            f"{printable(path)} is not what {printable(listed)} asks for: {printable((found or ['no lock'])[0])}",
            hint="holdfast lock brings it up to date; --frozen takes it as it is.",
            differences=found,
        )
    return _lock_again(requirements, old, path, settings, out, dry_run=args.dry_run), settings


def _lock_again(
    requirements: Requirements,
    old: Sequence[LockedModel] | None,
    path: Path,
    settings: Settings,
    out: Output,
    *,
    dry_run: bool,
) -> Sequence[LockedModel]:
    models = make_lock(
        requirements.models,
        old or (),
        upgrade=Upgrade(),
        policy=policy_of(requirements, settings),
        settings=settings,
        out=out,
    )
    if not dry_run:
        write_lock(path, models)
    out.note(f"{printable(path)} {'would be' if dry_run else 'was'} brought up to date")
    return models


def _prune(models: Sequence[LockedModel], wish: Wish, settings: Settings, out: Output) -> dict[str, Any]:
    if wish.dest is not None:
        return _prune_folder(models, wish, wish.dest, settings, out)
    cuts = plan_cache(models, settings.cache_dir)
    for line in cut_lines(cuts):
        out.note(line)
    agree(cuts, settings, yes=wish.yes or wish.dry_run)
    done = cuts if wish.dry_run else remove(cuts)
    out.note(freed_line(done, dry_run=wish.dry_run))
    return cut_json(done, dry_run=wish.dry_run)


def _prune_folder(
    models: Sequence[LockedModel], wish: Wish, dest: Path, settings: Settings, out: Output
) -> dict[str, Any]:
    extras = plan_folder(models, dest)
    for extra in extras:
        out.note(f"  remove  {format_bytes(extra.size_bytes):>9}  {printable(extra.path.relative_to(dest))}")
    _agree(extras, wish, settings)
    if not wish.dry_run:
        trim_folder(dest, extras)
    verb = "Dry run: would remove" if wish.dry_run else "Removed"
    sum_line = f"{verb} {count(len(extras), 'file')}, {format_bytes(_size(extras))}."
    out.note(sum_line if extras else "Nothing to remove.")
    return {
        "removed": [str(extra.path) for extra in extras],
        "freed_bytes": _size(extras),
        "dry_run": wish.dry_run,
    }


def _agree(extras: Sequence[Extra], wish: Wish, settings: Settings) -> None:
    if wish.yes or wish.dry_run or not extras or not can_ask(settings):
        return
    question = f"Remove {count(len(extras), 'file')}, {format_bytes(_size(extras))}?"
    if not confirm(question, default=False):
        raise Declined("nothing was removed", hint="-y answers yes beforehand, --dry-run only shows.")


def _size(extras: Sequence[Extra]) -> int:
    return sum(extra.size_bytes for extra in extras)
