"""`holdfast check [REF…]`"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from holdfast.cache.checking import Finding, broken_links, check_files, tasks_of
from holdfast.cache.installed import Snapshot, installed
from holdfast.cache.lock_checking import check_places, places_of
from holdfast.cache.matching import at_home, lock_at, matching_snapshots
from holdfast.errors import FAILED, OK
from holdfast.fetching.progress import open_progress
from holdfast.lists.lockfile import LockedModel
from holdfast.output import Output
from holdfast.reference import parse_reference
from holdfast.settings import Settings
from holdfast.text import count, format_bytes, printable

DESCRIPTION = "Re-hash cached files and compare with the digest each must have. 1 if one is wrong."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `check`."""
    parser.add_argument(
        "references", nargs="*", metavar="REF", help="org/name or org/name@revision; all if none"
    )
    parser.add_argument(
        "-l",
        "--lock",
        action="append",
        default=[],
        metavar="FILE",
        help="compare with what a models.lock names; repeatable",
    )
    parser.add_argument("--quick", action="store_true", help="compare sizes only")
    parser.add_argument("--repair", action="store_true", help="fetch damaged files again from the index")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Re-hashes the named snapshots, or all. 1 if something is wrong and was not repaired."""
    references = [at_home(parse_reference(text), settings.cache_dir) for text in args.references]
    snapshots = [
        snapshot for reference in references for snapshot in matching_snapshots(reference, settings.cache_dir)
    ]
    models = [model for name in args.lock for model in lock_at(Path(name))]
    if not references and not args.lock:
        snapshots = list(installed(settings.cache_dir))
    findings = _findings(snapshots, models, args, settings, out)
    bad = [finding for finding in findings if finding.is_bad]
    for finding in bad:
        out.result(f"BAD  {_describe(finding)}")
    repaired = _repair(bad, settings, out) if args.repair and bad else []
    _report(findings, bad, repaired, settings, out)
    return FAILED if len(repaired) < len(bad) else OK


def _repair(bad: list[Finding], settings: Settings, out: Output) -> list[Finding]:
    """Reads what a pull needs, the network and all, when it is wanted."""
    from holdfast.cache.repairing import repair

    return repair(bad, settings, out)


def _findings(
    snapshots: list[Snapshot],
    models: list[LockedModel],
    args: argparse.Namespace,
    settings: Settings,
    out: Output,
) -> list[Finding]:
    tasks, places = tasks_of(snapshots), places_of(models, settings.cache_dir)
    total = sum(task.file.size_bytes for task in tasks) + sum(file.size_bytes for _, file, _ in places)
    mode = "off" if out.verbosity < 0 and settings.progress != "json" else settings.progress
    n_files = len(tasks) + len(places)
    with open_progress(mode, total, n_files, color=settings.color, tell_finished=False) as progress:
        found = check_files(tasks, progress, quick=args.quick)
        locked = check_places(places, progress, quick=args.quick)
    return broken_links(snapshots) + found + locked


def _describe(finding: Finding) -> str:
    facts = f": expected {finding.expected}, got {finding.actual}" if finding.expected else ""
    what = printable(f"{finding.repo_id}@{finding.commit[:12]} {finding.path}")
    return f"{what}: {finding.problem}{facts}"


def _report(
    findings: list[Finding], bad: list[Finding], repaired: list[Finding], settings: Settings, out: Output
) -> None:
    unknown = sum(finding.problem == "unknown digest" for finding in findings)
    out.json(
        {
            "cache_dir": str(settings.cache_dir),
            "files": len(findings),
            "size_bytes": sum(finding.size_bytes for finding in findings),
            "unknown": unknown,
            "problems": [_as_json(finding, finding in repaired) for finding in bad],
        }
    )
    size = format_bytes(sum(finding.size_bytes for finding in findings))
    unsure = f", {unknown} without a known digest" if unknown else ""
    fixed = f", {len(repaired)} repaired" if repaired else ""
    verdict = count(len(bad), "problem") if bad else "all good"
    out.note(f"Checked {count(len(findings), 'file')}, {size}: {verdict}{fixed}{unsure}.")
    if len(repaired) < len(bad):
        out.note("  holdfast check --repair fetches the bad files again.")


def _as_json(finding: Finding, is_repaired: bool) -> dict[str, Any]:
    return {
        "repo_id": finding.repo_id,
        "commit": finding.commit,
        "path": finding.path,
        "local_path": str(finding.local_path),
        "problem": finding.problem,
        "expected": finding.expected,
        "actual": finding.actual,
        "repaired": is_repaired,
    }
