"""`holdfast cache dir|info|list|prune|purge|remove|adopt`"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any, Callable

from holdfast.arguments import size
from holdfast.cache.adopting import Found, adopt, list_folder, read_adopted, write_adopted
from holdfast.cache.cutting import Cut, whole_cut
from holdfast.cache.holdings import LLAMA_CPP, LM_STUDIO, known_stores
from holdfast.cache.inventory import inventories, size_on_disk
from holdfast.cache.matching import lock_at
from holdfast.cache.pruning import DAY_SECONDS, UNFINISHED_DAYS, Keep, Pruning, plan_prune, prune
from holdfast.cache.removal_report import agree, cut_json, cut_lines, freed_line
from holdfast.cache.report import count_locks, remark_lines, repo_lines, store_size, use_json, use_of
from holdfast.commands import list as list_command
from holdfast.commands import remove as remove_command
from holdfast.errors import FAILED, OK, Declined, NotFound
from holdfast.fetching.disk import disk_errors
from holdfast.fetching.progress import open_progress
from holdfast.output import Output
from holdfast.prompts import can_ask
from holdfast.reference import parse_reference
from holdfast.settings import Settings
from holdfast.text import count, format_bytes, printable

DESCRIPTION = "Look at the cache, and make room in it."
Action = Callable[[argparse.Namespace, Settings, Output], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A parser for each action."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, words: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")

    action("dir", "the path of the cache")
    action("info", "bytes by repo, what is shared or unfinished, other tools' stores")
    list_command.add_arguments(action("list", "the same as holdfast list"))
    remove_command.add_arguments(action("remove", "the same as holdfast remove"))
    _add_prune(action("prune", "remove what nothing shows, or bring the cache below a size"))
    remove_command.add_removal_flags(action("purge", "remove every model from the cache"))
    adopting = action("adopt", "hash what lies in folders, so that pulls link it")
    adopting.add_argument(
        "folders", nargs="*", metavar="DIR", help="folders; LM Studio's and llama.cpp's if none"
    )
    adopting.add_argument("--dry-run", action="store_true", help="show what would be hashed")


def _add_prune(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    age = f"unfinished files older than this ({UNFINISHED_DAYS:.0f})"
    add("--older-than", type=days, default=UNFINISHED_DAYS, metavar="DAYS", help=age)
    add("--unreferenced", action="store_true", help="also commits that no branch or tag names")
    size_help = "then what was used least recently, until the cache is no larger: 200G"
    add("--max-size", type=size, default=None, metavar="SIZE", help=size_help)
    add("--keep", action="append", default=[], metavar="REF", help="never remove this; repeatable")
    lock_help = "never remove what this lock names; repeatable"
    add("-l", "--lock", action="append", default=[], metavar="FILE", help=lock_help)
    remove_command.add_removal_flags(parser)


def days(text: str) -> float:
    """The type of a flag that takes an age."""
    value = float(text)
    if not 0 <= value <= 100_000:
        raise ValueError(text)
    return value


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Does one action."""
    return _ACTIONS[args.action](args, settings, out)


def _dir(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    out.result(str(settings.cache_dir))
    out.json({"cache_dir": str(settings.cache_dir)})
    return OK


def _info(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    found = list(inventories(settings.cache_dir))
    uses = [use_of(inventory) for inventory in found]
    total = size_on_disk([entry for inventory in found for entry in inventory.entries])
    locks = count_locks(settings.cache_dir)
    stores = [(store, *store_size(store)) for store in known_stores(settings.cache_dir, os.environ)]
    for line in repo_lines(uses):
        out.result(line)
    limit = f" of {format_bytes(settings.max_cache_bytes)}" if settings.max_cache_bytes else ""
    out.note(f"{count(len(uses), 'repo')}, {format_bytes(total)}{limit} in {printable(settings.cache_dir)}")
    for line in remark_lines(uses, locks):
        out.note(f"  {line}")
    for store, n_files, size_bytes in stores:
        files = f"{count(n_files, 'file')}, {format_bytes(size_bytes)}"
        out.note(f"  {store.kind} in {printable(store.folder)}: {files}")
    out.json(
        {
            "cache_dir": str(settings.cache_dir),
            "size_bytes": total,
            "max_size_bytes": settings.max_cache_bytes,
            "locks": locks[0],
            "locks_held": locks[1],
            "repos": [use_json(use) for use in uses],
            "stores": [
                {"kind": store.kind, "path": str(store.folder), "files": n_files, "size_bytes": size_bytes}
                for store, n_files, size_bytes in stores
            ],
        }
    )
    return OK


def _prune(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    keep = Keep()
    for text in args.keep:
        keep.add(parse_reference(text), settings.cache_dir)
    for name in args.lock:
        keep.add_lock(lock_at(Path(name)))
    before = time.time() - args.older_than * DAY_SECONDS
    cuts, size_bytes = plan_prune(
        settings.cache_dir, Pruning(before, keep, detached=args.unreferenced, max_bytes=args.max_size)
    )
    takes_models = args.unreferenced or args.max_size is not None
    code = _carry_out(cuts, args, settings, out, yes=args.yes or not takes_models)
    if args.max_size is not None and size_bytes > args.max_size:
        out.note(f"  {format_bytes(size_bytes)} are kept, more than asked for: --keep names too much of it.")
        return FAILED
    return code


def _purge(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    cuts = [whole_cut(inventory) for inventory in inventories(settings.cache_dir)]
    if cuts and not (args.yes or args.dry_run or can_ask(settings)):
        raise Declined(
            "nobody can be asked whether everything should go",
            hint="Pass -y to remove every model from the cache, --dry-run to see what that is.",
        )
    return _carry_out(cuts, args, settings, out, yes=args.yes)


def _carry_out(
    cuts: list[Cut], args: argparse.Namespace, settings: Settings, out: Output, *, yes: bool
) -> int:
    for line in cut_lines(cuts):
        (out.result if args.dry_run else out.note)(line)
    agree(cuts, settings, yes=yes or args.dry_run)
    done = cuts if args.dry_run else prune(cuts, out)
    out.json({**cut_json(done, dry_run=args.dry_run), "cache_dir": str(settings.cache_dir)})
    out.note(freed_line(done, dry_run=args.dry_run))
    return OK if len(done) == len(cuts) else FAILED


def _adopt(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    folders = _folders(args, settings)
    files = [file for folder in folders for file in list_folder(folder)]
    adopted = read_adopted(os.environ)
    found: list[Found] = []
    if not args.dry_run:
        mode = "off" if out.verbosity < 0 and settings.progress != "json" else settings.progress
        total = sum(size_bytes for _path, size_bytes in files)
        with open_progress(mode, total, len(files), color=settings.color, tell_finished=False) as progress:
            found = adopt(files, adopted, progress)
        with disk_errors(settings.cache_dir):
            write_adopted(adopted, os.environ)
    _report_adopted(files, found, args, out)
    return FAILED if any(one.problem for one in found) else OK


def _folders(args: argparse.Namespace, settings: Settings) -> list[Path]:
    """The folders named, which must exist, or those of the tools whose files say no digest."""
    if not args.folders:
        stores = known_stores(settings.cache_dir, os.environ)
        return [store.folder for store in stores if store.kind in (LM_STUDIO, LLAMA_CPP)]
    folders = [Path(name).expanduser().absolute() for name in args.folders]
    for folder in folders:
        if not folder.is_dir():
            raise NotFound(
                f"no such folder: {printable(folder)}", hint="Name a folder that holds model files."
            )
    return folders


def _report_adopted(
    files: list[tuple[str, int]], found: list[Found], args: argparse.Namespace, out: Output
) -> None:
    for one in found:
        out.result(
            f"{one.sha256}  {printable(one.path)}"
            if one.sha256
            else f"BAD  {printable(one.path)}: {one.problem}"
        )
    if args.dry_run:
        for path, size_bytes in files:
            out.result(f"{format_bytes(size_bytes):>9}  {printable(path)}")
    known = [one for one in found if one.sha256 is not None]
    shown: list[dict[str, Any]] = [one.__dict__ for one in found]
    out.json(
        {
            "files": shown or [{"path": path, "size_bytes": size} for path, size in files],
            "dry_run": args.dry_run,
        }
    )
    new = sum(one.is_new for one in known)
    total = format_bytes(sum(size_bytes for _path, size_bytes in files))
    did = "Dry run: nothing was read" if args.dry_run else f"{new} hashed, {len(known) - new} known already"
    out.note(f"{count(len(files), 'file')}, {total}: {did}. Pulls link what they find here.")


_ACTIONS: dict[str, Action] = {
    "dir": _dir,
    "info": _info,
    "list": list_command.run,
    "prune": _prune,
    "purge": _purge,
    "remove": remove_command.run,
    "adopt": _adopt,
}
