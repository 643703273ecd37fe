"""The words around a pull: the plan before, the sum after."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap

from holdfast.fetching.plan import Plan
from holdfast.output import width
from holdfast.sources.remote import RemoteFile
from holdfast.text import count, format_bytes, format_seconds, printable, shorten

MAX_LISTED = 20
SIZE_WIDTH = 9


def plan_lines(plan: Plan, index_url: str, root: Path) -> list[str]:
    """What will happen, in at most about two dozen lines that fit the terminal."""
    selection = plan.selection
    revision = (
        f"@{selection.revision}" if selection.revision and selection.revision != selection.commit else ""
    )
    variant = f":{printable(selection.variant)}" if selection.variant else ""
    lines = [
        f"{selection.repo_id}{revision}{variant} is commit {selection.commit[:12]} at {printable(index_url)}"
    ]
    lines += wrap(selection.reason, width() - 2, initial_indent="  ", subsequent_indent="    ")
    if not plan.fetches:
        return lines
    lines += [_file_line(plan, file) for file in plan.files[:MAX_LISTED]]
    if len(plan.files) > MAX_LISTED:
        rest = plan.files[MAX_LISTED:]
        size = sum(file.size_bytes for file in rest)
        lines.append(f"  {'':5}  {format_bytes(size):>{SIZE_WIDTH}}  … in {count(len(rest), 'more file')}")
    lines.append(_sum_line(plan))
    lines.append(f"  into {printable(root)}")
    return lines


def _file_line(plan: Plan, file: RemoteFile) -> str:
    state = "held" if not plan.is_fetched(file) else "here" if plan.is_here(file) else "fetch"
    room = width() - 2 - 5 - 2 - SIZE_WIDTH - 2
    return (
        f"  {state:5}  {format_bytes(file.size_bytes):>{SIZE_WIDTH}}  {shorten(printable(file.path), room)}"
    )


def _sum_line(plan: Plan) -> str:
    files, fetch = count(len(plan.files), "file"), f"{format_bytes(plan.fetch_bytes)} to fetch"
    if plan.fetch_bytes == plan.size_bytes:
        return f"{files}, {fetch}"
    kept = f", {format_bytes(plan.staged_bytes)} kept from an interrupted pull" if plan.staged_bytes else ""
    linked = f", {format_bytes(plan.linked_bytes)} elsewhere on this machine" if plan.linked_bytes else ""
    return f"{files}, {format_bytes(plan.size_bytes)}: {fetch}{kept}{linked}"


def summary_line(plan: Plan, arrived_bytes: int, seconds: float, *, dry_run: bool) -> str:
    """One closing line with counts and bytes."""
    name = plan.selection.name
    if dry_run:
        return f"Dry run: nothing was fetched of {name}."
    if not plan.fetches:
        return f"{name} was here already: {count(len(plan.files), 'file')}, {format_bytes(plan.size_bytes)}."
    rate = f", {format_bytes(arrived_bytes / seconds)}/s" if seconds > 0 and arrived_bytes else ""
    return (
        f"Pulled {name}: {count(len(plan.fetches), 'file')} verified, {format_bytes(arrived_bytes)} fetched"
        f" in {format_seconds(seconds)}{rate}."
    )
