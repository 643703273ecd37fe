"""Pull one reference: resolve, choose, plan, fetch, verify, publish."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.cache import RepoCache
from holdfast.destination import CacheDestination, Destination, FolderDestination
from holdfast.download import fetch_plan
from holdfast.errors import Declined
from holdfast.hub import Hub
from holdfast.offline import CachedIndex, missing_offline
from holdfast.output import Output
from holdfast.plan import Plan, check_fits, make_plan
from holdfast.progress import open_progress
from holdfast.prompts import ask_variant, can_ask, confirm
from holdfast.reference import HUGGING_FACE, Reference
from holdfast.remote import RemoteFile
from holdfast.report import plan_lines, summary_line
from holdfast.selection import Index, Patterns, Selection, select
from holdfast.settings import Settings
from holdfast.text import count, format_bytes
from holdfast.transport import Transport, origin


@dataclass(frozen=True)
class Wish:
    """The flags of `pull` that shape one pull."""

    patterns: Patterns
    dest: Path | None
    force: bool
    dry_run: bool
    yes: bool


@dataclass(frozen=True)
class Pulled:
    """What a pull did, or with --dry-run would do."""

    reference: Reference
    index_url: str
    plan: Plan
    path: Path
    arrived_bytes: int
    seconds: float
    local_paths: tuple[Path, ...]

    def as_json(self) -> dict[str, Any]:
        """The object in the list `pulled`."""
        selection = self.plan.selection
        return {
            "reference": self.reference.text,
            "index": self.index_url,
            "repo_id": selection.repo_id,
            "revision": selection.revision,
            "commit": selection.commit,
            "variant": selection.variant,
            "path": str(self.path),
            "size_bytes": self.plan.size_bytes,
            "fetched_bytes": self.arrived_bytes,
            "seconds": round(self.seconds, 3),
            "files": [self._file(file, path) for file, path in zip(self.plan.files, self.local_paths)],
        }

    def _file(self, file: RemoteFile, path: Path) -> dict[str, Any]:
        return {
            "path": file.path,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
            "git_oid": file.git_oid,
            "state": "fetched" if self.plan.is_fetched(file) else "held",
            "local_path": str(path),
        }


def pull(reference: Reference, wish: Wish, settings: Settings, out: Output) -> Pulled:
    """Afterwards the files are verified and at `Pulled.path`; with --dry-run nothing has changed.

    Raises the errors of `errors.py`; whatever has arrived by then is kept for the next run.
    """
    started = time.monotonic()
    hub = open_hub(reference, settings, out)
    index: Index = (
        CachedIndex(settings.cache_dir) if settings.offline else _Remembering(hub, settings.cache_dir)
    )
    selection = select(
        reference, index, wish.patterns, ask=lambda repo, choices: _ask(repo, choices, settings)
    )
    destination = _destination(selection, wish, settings)
    plan = make_plan(selection, destination, force=wish.force)
    if settings.offline and plan.fetches and not _copies_suffice(plan, destination):
        raise missing_offline(selection.repo_id, selection.commit, [file.path for file in plan.fetches])
    for line in plan_lines(plan, hub.index_url, destination.root):
        out.note(line)
    check_fits(plan, destination)
    arrived = 0
    if not wish.dry_run:
        _agree(plan, wish, settings)
        arrived = _carry_out(plan, hub, destination, wish=wish, settings=settings, out=out)
    seconds = time.monotonic() - started
    out.note(summary_line(plan, arrived, seconds, dry_run=wish.dry_run))
    local = tuple(destination.path_of(file) for file in plan.files)
    path = local[0] if selection.one_file else destination.root
    return Pulled(reference, hub.index_url, plan, path, arrived, seconds, local)


def open_hub(reference: Reference, settings: Settings, out: Output) -> Hub:
    """The index of the reference. The token goes only to the configured index, and to Hugging Face if it is named."""
    url, token = settings.index_url, settings.token
    if reference.index_url == HUGGING_FACE:
        url, token = settings.hugging_face_url, settings.hugging_face_token
    elif reference.index_url is not None:
        url = reference.index_url
        token = token if origin(url) == origin(settings.index_url) else None
    transport = Transport(
        url,
        token,
        timeout_seconds=settings.timeout_seconds,
        connections=settings.max_workers + 1,
        trace=out.trace if out.verbosity >= 1 else None,
    )
    return Hub(url, transport, retries=settings.retries)


class _Remembering:
    """The hub, except that a full commit is never resolved, and a listing that was kept is not asked for again."""

    def __init__(self, hub: Hub, cache_dir: Path) -> None:
        self._hub = hub
        self._cache_dir = cache_dir
        self.resolve_variant = hub.resolve_variant

    def resolve(self, repo_id: str, revision: str) -> str:
        full = len(revision) == 40 and RepoCache(self._cache_dir, repo_id).read_ref(revision) == revision
        return revision if full else self._hub.resolve(repo_id, revision)

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        kept = RepoCache(self._cache_dir, repo_id).read_tree(commit)
        return self._hub.list_files(repo_id, commit) if kept is None else kept


def _ask(repo_id: str, choices: Any, settings: Settings) -> str | None:
    if not can_ask(settings):
        return None
    chosen = ask_variant(repo_id, choices)
    if chosen is None:
        raise Declined(
            "nothing chosen", hint=f"Name a variant after the colon: holdfast pull {repo_id}:VARIANT"
        )
    return chosen


def _agree(plan: Plan, wish: Wish, settings: Settings) -> None:
    """Above a size a person is asked; where nobody can be, the command line is the answer."""
    if wish.yes or plan.fetch_bytes <= settings.ask_above_bytes or not can_ask(settings):
        return
    if not confirm(f"Fetch {count(len(plan.fetches), 'file')}, {format_bytes(plan.fetch_bytes)}?"):
        raise Declined(
            "not pulled", hint="-y answers yes beforehand; HOLDFAST_ASK_ABOVE sets the size to ask from."
        )


def _destination(selection: Selection, wish: Wish, settings: Settings) -> Destination:
    repo = RepoCache(settings.cache_dir, selection.repo_id)
    if wish.dest is not None:
        return FolderDestination(wish.dest, repo, force=wish.force)
    return CacheDestination(repo, selection.commit, symlinks=settings.symlinks)


def _copies_suffice(plan: Plan, destination: Destination) -> bool:
    """Whether a plain folder can be filled from the cache alone."""
    return isinstance(destination, FolderDestination) and all(map(destination.cached_copy, plan.fetches))


def _carry_out(
    plan: Plan, hub: Hub, destination: Destination, *, wish: Wish, settings: Settings, out: Output
) -> int:
    total = sum(file.size_bytes for file in plan.fetches)
    mode = "off" if out.verbosity < 0 and settings.progress != "json" else settings.progress
    with open_progress(mode, total, len(plan.fetches), color=settings.color) as progress:
        arrived = fetch_plan(
            plan,
            hub,
            destination,
            progress,
            max_workers=settings.max_workers,
            retries=settings.retries,
            force=wish.force,
        )
    destination.publish(plan.files, plan.selection.listing, plan.selection.revision)
    return arrived
