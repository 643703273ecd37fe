"""Pull one reference: resolve, choose, plan, fetch, verify, publish."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial as bind
from pathlib import Path
from typing import Any, Callable

from holdfast.cache.holdings import Holdings
from holdfast.cache.layout import RepoCache
from holdfast.cache.matching import at_home
from holdfast.cache.pruning import make_room
from holdfast.choosing.selection import Index, Patterns, Selection, select
from holdfast.errors import Declined
from holdfast.fetching.destination import CacheDestination, Destination
from holdfast.fetching.download import fetch_plan
from holdfast.fetching.folder import FolderDestination
from holdfast.fetching.mirrors import open_mirrors
from holdfast.fetching.plan import Plan, check_fits, make_plan
from holdfast.fetching.progress import open_progress
from holdfast.fetching.report import plan_lines, summary_line
from holdfast.lists.pins import UNPINNED, Pins, check_pins, pin
from holdfast.lists.policy import ANYTHING, Policy, check_policy, constrain
from holdfast.output import Output
from holdfast.prompts import ask_variant, can_ask, confirm
from holdfast.reference import Reference
from holdfast.settings import Settings
from holdfast.sources.indexes import open_source
from holdfast.sources.offline import CachedIndex, NoNetwork, missing_offline
from holdfast.sources.remote import RemoteFile
from holdfast.sources.source import Opener
from holdfast.text import count, format_bytes

Open = Callable[[Plan, Callable[[str], None]], Opener]  # with what it may say to a person


@dataclass(frozen=True)
class Wish:
    """The flags of `pull` that shape one pull, and what a requirements file or a policy asks of it."""

    patterns: Patterns
    dest: Path | None
    force: bool
    dry_run: bool
    yes: bool
    pins: Pins = UNPINNED
    policy: Policy = ANYTHING
    replaces: bool = False  # other files of these names in `dest` give way
    adopt: bool = True  # take what this machine has elsewhere
    link_mode: str | None = None  # in this way only; see destination.py for what None means


@dataclass(frozen=True)
class Pulled:
    """What a pull did, or with --dry-run would do. `reference` is the words that asked for it."""

    reference: str
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
            "reference": self.reference,
            "index": self.index_url,
            "repo_id": selection.repo_id,
            "revision": selection.revision,
            "commit": selection.commit,
            "variant": selection.variant,
            "reason": selection.reason or None,
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
            "state": self.plan.state_of(file),
            "local_path": str(path),
        }


def pull(reference: Reference, wish: Wish, settings: Settings, out: Output) -> Pulled:
    """Afterwards the files are verified and at `Pulled.path`; with --dry-run nothing has changed.

    Raises the errors of `errors.py`; whatever has arrived by then is kept for the next run.
    """
    reference = constrain(reference, wish.policy)
    if settings.offline:
        reference = at_home(reference, settings.cache_dir)
    hub = open_source(reference, settings, out)
    index: Index = (
        CachedIndex(settings.cache_dir) if settings.offline else _Remembering(hub, settings.cache_dir)
    )
    selection = select(
        reference,
        index,
        wish.patterns,
        ask=lambda repo, choices: _ask(repo, choices, settings),
        memory_bytes=settings.memory_bytes,
    )
    selection = pin(selection, wish.pins)
    check_policy(wish.policy, selection, None if settings.offline else hub, settings)
    if settings.offline:
        selection = replace(selection, listing=())  # what the cache shows of a commit need not be all of it
    return take(
        selection,
        (lambda _plan, _say: hub) if settings.offline else bind(open_mirrors, hub),
        index_url=hub.url_of(selection.repo_id),
        asked=reference.text,
        wish=wish,
        settings=settings,
        out=out,
    )


def take(
    selection: Selection,
    opened: Open,
    *,
    index_url: str,
    asked: str,
    wish: Wish,
    settings: Settings,
    out: Output,
) -> Pulled:
    """Afterwards the files of the selection are verified and at `Pulled.path`.

    `opened` gives what the bytes come from, and is called only if bytes must come.
    """
    destination = _destination(selection, wish, settings)
    with nullcontext() if wish.dry_run else destination.in_use():
        pulled = _take(
            selection,
            opened,
            destination,
            index_url=index_url,
            asked=asked,
            wish=wish,
            settings=settings,
            out=out,
        )
    if settings.max_cache_bytes is not None and wish.dest is None and not wish.dry_run:
        make_room(settings.cache_dir, settings.max_cache_bytes, selection, out)
    return pulled


def _take(
    selection: Selection,
    opened: Open,
    destination: Destination,
    *,
    index_url: str,
    asked: str,
    wish: Wish,
    settings: Settings,
    out: Output,
) -> Pulled:
    started = time.monotonic()
    plan = make_plan(selection, destination, force=wish.force)
    if settings.offline and not all(map(plan.is_here, plan.fetches)):
        raise missing_offline(selection.repo_id, selection.commit, [file.path for file in plan.fetches])
    for line in plan_lines(plan, index_url, destination.root):
        out.note(line)
    check_fits(plan, destination)
    arrived = 0
    if not wish.dry_run:
        _agree(plan, wish, settings)
        arrived = _carry_out(plan, opened, destination, wish=wish, settings=settings, out=out)
    seconds = time.monotonic() - started
    out.note(summary_line(plan, arrived, seconds, dry_run=wish.dry_run))
    local = tuple(destination.path_of(file) for file in plan.files)
    path = local[0] if selection.one_file else destination.root
    return Pulled(asked, index_url, plan, path, arrived, seconds, local)


class _Remembering:
    """The hub, except that a full commit is never resolved, and a listing that was kept is not asked for again."""

    def __init__(self, hub: Index, cache_dir: Path) -> None:
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
    holdings = Holdings(settings.cache_dir, os.environ) if wish.adopt else None
    if wish.dest is not None:
        return FolderDestination(
            wish.dest, repo, force=wish.force or wish.replaces, holdings=holdings, link_mode=wish.link_mode
        )
    return CacheDestination(
        repo, selection.commit, symlinks=settings.symlinks, holdings=holdings, link_mode=wish.link_mode
    )


def _carry_out(
    plan: Plan,
    opened: Open,
    destination: Destination,
    *,
    wish: Wish,
    settings: Settings,
    out: Output,
) -> int:
    arrived = _fetch(plan, opened, destination, wish=wish, settings=settings, out=out) if plan.fetches else 0
    check_pins(plan.files, destination, plan.selection.name, wish.pins)
    destination.publish(plan.files, plan.selection.listing, plan.selection.revision)
    return arrived


def _fetch(
    plan: Plan, opened: Open, destination: Destination, *, wish: Wish, settings: Settings, out: Output
) -> int:
    total = sum(file.size_bytes for file in plan.fetches)
    mode = "off" if out.verbosity < 0 and settings.progress != "json" else settings.progress
    with open_progress(mode, total, len(plan.fetches), color=settings.color) as progress:
        return fetch_plan(
            plan,
            NoNetwork() if settings.offline else opened(plan, progress.say),
            destination,
            progress,
            max_workers=settings.max_workers,
            retries=settings.retries,
            force=wish.force,
        )
