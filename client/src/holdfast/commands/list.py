"""`holdfast list`"""

from __future__ import annotations

import argparse
import time
from typing import Any, Callable

from holdfast.errors import OK
from holdfast.installed import Snapshot, installed
from holdfast.output import Output, table
from holdfast.settings import Settings
from holdfast.text import count, format_bytes, printable

SORTS: dict[str, Callable[[Snapshot], Any]] = {
    "name": lambda snapshot: (snapshot.repo.repo_id.casefold(), -snapshot.modified_at),
    "size": lambda snapshot: -snapshot.size_bytes,
    "time": lambda snapshot: -snapshot.modified_at,
}


DESCRIPTION = "Reads the disk only."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `list`."""
    parser.add_argument("--sort", choices=tuple(SORTS), default="name", help="the order (name)")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Shows every cached commit of every model repo. Reads the disk only."""
    found = sorted(installed(settings.cache_dir), key=SORTS[args.sort])
    total = sum(_blob_sizes(found).values())
    out.json(
        {
            "cache_dir": str(settings.cache_dir),
            "size_bytes": total,
            "snapshots": [_as_json(one) for one in found],
        }
    )
    if settings.verbosity < 0:
        for one in found:
            out.result(f"{one.repo.repo_id}@{one.commit}")
    elif found:
        for line in table(
            ("REPO", "REVISION", "VARIANTS", "FILES", "SIZE", "CHANGED"), _rows(found), right=(3, 4)
        ):
            out.result(line)
    repos = len({one.repo.repo_id for one in found})
    out.note(f"{count(repos, 'repo')}, {format_bytes(total)} in {printable(settings.cache_dir)}")
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
