"""The words around a removal: what would go and how much that is, the question, and the sum after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.cache.cutting import Cut, freed_bytes
from holdfast.errors import Declined
from holdfast.output import table
from holdfast.prompts import can_ask, confirm
from holdfast.settings import Settings
from holdfast.text import count, format_bytes


def cut_lines(cuts: Sequence[Cut]) -> list[str]:
    """A line for each repo: what goes, and what the disk gets back."""
    rows = [(cut.repo.repo_id, what_goes(cut), format_bytes(freed_bytes([cut])[0])) for cut in cuts if cut]
    return table(("REPO", "WHAT GOES", "FREES"), rows, right=(2,)) if rows else []


def agree(cuts: Sequence[Cut], settings: Settings, *, yes: bool) -> None:
    """A person at a terminal is asked once for all. Raises Declined."""
    if yes or not any(cuts) or not can_ask(settings):
        return
    if not confirm(f"Remove this, {format_bytes(freed_bytes(cuts)[0])}?", default=False):
        raise Declined("nothing was removed", hint="-y answers yes beforehand, --dry-run only shows.")


def freed_line(cuts: Sequence[Cut], *, dry_run: bool) -> str:
    """One closing line with counts and bytes."""
    freed, linked = freed_bytes(cuts)
    kept = f"; {format_bytes(linked)} stay under names outside the cache" if linked else ""
    if dry_run:
        return f"Dry run: nothing was removed; {format_bytes(freed)} would be freed{kept}."
    if not any(cuts):
        return "Nothing to remove."
    repos = {cut.repo.repo_id for cut in cuts if cut}
    return f"Removed from {count(len(repos), 'repo')}: {format_bytes(freed)} freed{kept}."


def cut_json(cuts: Sequence[Cut], *, dry_run: bool) -> dict[str, Any]:
    """The result under --json."""
    freed, linked = freed_bytes(cuts)
    return {
        "removed": [_as_json(cut) for cut in cuts if cut],
        "freed_bytes": freed,
        "linked_bytes": linked,
        "dry_run": dry_run,
    }


def what_goes(cut: Cut) -> str:
    """In words: `1 commit, 7 files`. To be asked while it is still there."""
    broken = sum(pointer.is_broken for pointer in cut.pointers)
    shown = {pointer.shows for pointer in cut.pointers}
    parts = (
        (len(cut.commits), "commit"),
        (len(cut.refs), "ref"),
        (len(cut.pointers) - broken, "file"),
        (broken, "broken link"),
        (sum(blob.name not in shown for blob in cut.blobs), "unreferenced blob"),
        (sum(not entry.name.endswith(".parts") for entry in cut.unfinished), "unfinished file"),
    )
    counted = ", ".join(count(number, noun) for number, noun in parts if number > 0) or "nothing"
    return f"all: {counted}" if cut.is_whole else counted


def _as_json(cut: Cut) -> dict[str, Any]:
    return {
        "repo_id": cut.repo.repo_id,
        "whole": cut.is_whole,
        "commits": list(cut.commits),
        "refs": list(cut.refs),
        "files": [
            f"{pointer.commit}/{pointer.path.relative_to(cut.repo.snapshot_path(pointer.commit)).as_posix()}"
            for pointer in cut.pointers
        ],
        "blobs": [blob.name for blob in cut.blobs],
        "unfinished": [entry.name for entry in cut.unfinished],
        "freed_bytes": freed_bytes([cut])[0],
    }
