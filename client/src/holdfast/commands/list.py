"""`holdfast list`"""

from __future__ import annotations

import argparse
import time
from typing import Any, Callable

from holdfast.cache.installed import Snapshot, installed
from holdfast.errors import OK
from holdfast.output import Output, table
from holdfast.settings import Settings
from holdfast.text import count, format_bytes, printable

SORTS: dict[str, Callable[[Snapshot], Any]] = {
    "name": lambda snapshot: (snapshot.repo.repo_id.casefold(), -snapshot.modified_at),
    "size": lambda snapshot: -snapshot.size_bytes,
    "time": lambda snapshot: -snapshot.modified_at,
}
FORMATS = ("table", "json", "freeze")

DESCRIPTION = "What the cache holds. Reads the disk only, except for --outdated."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `list`."""
    parser.add_argument("--sort", choices=tuple(SORTS), default="name", help="the order (name)")
    parser.add_argument(
        "--outdated", action="store_true", help="only what the index has moved on from; asks it once per repo"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="table",
        help="json is --json; freeze: lines of a models.txt, without hashes",
    )


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Shows every cached commit of every model repo."""
    out.as_json = out.as_json or args.format == "json"
    found = sorted(installed(settings.cache_dir), key=SORTS[args.sort])
    if args.outdated:
        return _show_outdated(found, args, settings, out)
    total = sum(_blob_sizes(found).values())
    out.json(
        {
            "cache_dir": str(settings.cache_dir),
            "size_bytes": total,
            "snapshots": [_as_json(one) for one in found],
        }
    )
    for line in _lines(found, args, settings):
        out.result(line)
    repos = len({one.repo.repo_id for one in found})
    out.note(f"{count(repos, 'repo')}, {format_bytes(total)} in {printable(settings.cache_dir)}")
    return OK


def _lines(found: list[Snapshot], args: argparse.Namespace, settings: Settings) -> list[str]:
    if args.format == "freeze":
        from holdfast.lists.freezing import (
            name_of,
        )  # it knows lists of requirements, which a plain `list` need not read

        return [name_of(one) for one in found if one.files]
    if settings.verbosity < 0:
        return [f"{one.repo.repo_id}@{one.commit}" for one in found]
    heads = ("REPO", "REVISION", "VARIANTS", "FILES", "SIZE", "CHANGED")
    return table(heads, _rows(found), right=(3, 4)) if found else []


def _show_outdated(found: list[Snapshot], args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """With -q, or as lines of a list, `org/name@main`: what pull takes to bring it up to date."""
    from holdfast.cache.outdated import ask_index

    answers = ask_index(found, settings, out)
    behind = [one for one in answers if one.state == "outdated"]
    if settings.verbosity < 0 or args.format == "freeze":
        lines = [f"{one.repo_id}@{one.revision}" for one in behind]
    else:
        rows = [
            (one.repo_id, one.revision, one.commit[:12], (one.current_commit or "")[:12]) for one in behind
        ]
        lines = table(("REPO", "REVISION", "HERE", "AT THE INDEX"), rows) if rows else []
    for line in lines:
        out.result(line)
    for one in answers:
        if one.error is not None:
            out.note(f"  {one.state}: {printable(one.error.message)}")
    out.json({"asked": len(answers), "repos": [one.as_json() for one in answers]})
    out.note(f"{count(len(answers), 'repo')} asked, {len(behind)} outdated.")
    return OK


def _blob_sizes(found: list[Snapshot]) -> dict[tuple[str, str], int]:
    """Every blob of every repo once."""
    return {
        (one.repo.repo_id, file.etag or f"{one.commit}/{file.path}"): file.size_bytes
        for one in found
        for file in one.files
    }


def _rows(found: list[Snapshot]) -> list[tuple[str, ...]]:
    return [
        (
            one.repo.repo_id,
            printable(f"{one.refs[0]} {one.commit[:7]}" if one.refs else one.commit[:12]),
            _variants(one),
            str(len(one.files)) + (f" ({len(one.broken)} broken)" if one.broken else ""),
            format_bytes(one.size_bytes),
            time.strftime("%Y-%m-%d", time.localtime(one.modified_at)),
        )
        for one in found
    ]


def _variants(one: Snapshot) -> str:
    shown = one.variants
    return printable(" ".join(shown[:3]) + (f" +{len(shown) - 3}" if len(shown) > 3 else ""))


def _as_json(one: Snapshot) -> dict[str, Any]:
    return {
        "repo_id": one.repo.repo_id,
        "commit": one.commit,
        "refs": list(one.refs),
        "variants": one.variants,
        "files": len(one.files),
        "broken": list(one.broken),
        "size_bytes": one.size_bytes,
        "changed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.modified_at)),
        "path": str(one.repo.snapshot_path(one.commit)),
    }
