"""Fetch damaged cached files again, from the index, at the commit they belong to."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from holdfast.cache.checking import Finding
from holdfast.cache.layout import RepoCache
from holdfast.choosing.selection import Patterns
from holdfast.errors import HoldfastError
from holdfast.fetching.disk import disk_errors
from holdfast.lists.lockfile import LockedModel
from holdfast.lists.syncing import sync_model
from holdfast.output import Output
from holdfast.pulling import Wish, pull
from holdfast.reference import Reference
from holdfast.settings import Settings
from holdfast.text import printable


def repair(bad: Sequence[Finding], settings: Settings, out: Output) -> list[Finding]:
    """The findings that are good now. A file that cannot be fetched stays as it was, and is named with the reason."""
    return [finding for finding in bad if _repair_one(finding, settings, out)]


def _repair_one(finding: Finding, settings: Settings, out: Output) -> bool:
    """The bad bytes are replaced in the moment the good ones are verified, never before."""
    wish = Wish(Patterns(), dest=None, force=True, dry_run=False, yes=True)
    try:
        _unlink_broken(finding, settings)
        if finding.locked is None:
            pull(_reference(finding), wish, settings, out)
        else:
            sync_model(_locked(finding.locked, finding.path), wish, settings, out, index_url=None)
    except HoldfastError as error:
        out.note(f"not repaired: {finding.repo_id} {printable(finding.path)}: {printable(error.message)}")
        return False
    return True


def _locked(model: LockedModel, path: str) -> LockedModel:
    """The one file, by its digests in the lock; no ref is moved for it."""
    return replace(model, revision=None, files=tuple(file for file in model.files if file.path == path))


def _reference(finding: Finding) -> Reference:
    return Reference(
        text=f"{finding.repo_id}@{finding.commit}//{finding.path}",
        repo_id=finding.repo_id,
        revision=finding.commit,
        path=finding.path,
    )


def _unlink_broken(finding: Finding, settings: Settings) -> None:
    """A link to nothing goes first; the pull makes it anew."""
    pointer = RepoCache(settings.cache_dir, finding.repo_id).snapshot_path(finding.commit) / finding.path
    if finding.problem == "missing":
        with disk_errors(settings.cache_dir), contextlib.suppress(FileNotFoundError):
            pointer.unlink()
