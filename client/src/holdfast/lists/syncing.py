"""Make the cache, or a plain folder, hold what a lock names.

The lock is the authority: what an index lists for a locked commit is compared with it before anything is fetched, what
arrives is compared with it before it gets a name. What is here already needs no network. In a plain folder every model
has its own: `DEST/org/name/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Callable

from holdfast.cache.layout import RepoCache
from holdfast.choosing.selection import Selection
from holdfast.choosing.variants import gguf_groups
from holdfast.errors import (
    BadAnswer,
    Declined,
    HashMismatch,
    HoldfastError,
    NotFound,
    NotValidated,
    UnsafePath,
    UsageError,
)
from holdfast.fetching.destination import CacheDestination
from holdfast.fetching.disk import check_space
from holdfast.fetching.mirrors import Mirrors
from holdfast.fetching.plan import Plan
from holdfast.lists.lockfile import LockedFile, LockedModel
from holdfast.lists.locking import is_validated
from holdfast.output import Output
from holdfast.paths import check_collisions
from holdfast.prompts import can_ask, confirm
from holdfast.pulling import Pulled, Wish, take
from holdfast.reference import REGISTRIES, Reference
from holdfast.settings import Settings
from holdfast.sources.indexes import open_indexes, open_source
from holdfast.sources.opening import open_place
from holdfast.sources.remote import RemoteFile
from holdfast.sources.source import Opener, Source
from holdfast.text import count, format_bytes, printable


def check_lock(models: Sequence[LockedModel], wish: Wish, settings: Settings) -> None:
    """Raises NotValidated if weights must have passed and have not, UsageError for what one folder cannot hold."""
    for model in models if settings.require_validated else ():
        if not is_validated(model):
            raise NotValidated(
                f"{printable(model.requirement)} is locked without a verdict that passes",
                hint="holdfast lock --require-validated asks the index again.",
                repo_id=model.repo_id,
                commit=model.commit,
            )
    for model in models if wish.dest is not None else ():
        together = [one for one in models if one.repo_id.casefold() == model.repo_id.casefold()]
        if len({(one.repo_id, one.commit) for one in together}) > 1:
            raise UsageError(
                f"{model.repo_id} is locked at two commits, and a plain folder holds one",
                hint="Leave --dest out: the cache holds both.",
            )
        check_collisions({file.path for one in together for file in one.files}, listed_by=model.name)


def agree_to_all(models: Sequence[LockedModel], wish: Wish, settings: Settings) -> Wish:
    """The wish, agreed to: the models together must fit, and a person is asked once for all of them. Asks no network.

    Raises NoSpace or Declined.
    """
    missing = sum(_missing_bytes(_selection(model), wish, settings) for model in models)
    if not wish.dry_run:
        check_space(wish.dest or settings.cache_dir, missing)
    if wish.yes or wish.dry_run or missing <= settings.ask_above_bytes or not can_ask(settings):
        return wish
    if not confirm(f"Fetch {format_bytes(missing)} of {count(len(models), 'model')}?"):
        raise Declined("not synced", hint="-y answers yes beforehand.")
    return replace(wish, yes=True)


def sync_model(
    model: LockedModel, wish: Wish, settings: Settings, out: Output, *, index_url: str | None
) -> Pulled:
    """Afterwards the locked files are where they belong. `index_url` is asked instead of the index in the lock.

    Raises HashMismatch if the index has other bytes for the commit; then nothing was written.
    """
    selection = _selection(model)
    source = _LockedSource(model, index_url or model.index, settings, out)
    if not settings.offline and not _is_here(selection, wish, settings):
        selection = replace(selection, listing=source.listing())
    if wish.dest is not None:
        wish = replace(wish, dest=wish.dest / model.repo_id)
    return take(
        selection,
        source.opened,
        index_url=source.index_url,
        asked=model.requirement,
        wish=wish,
        settings=settings,
        out=out,
    )


def _selection(model: LockedModel) -> Selection:
    """Without a listing: whether the lock names all files of the commit is not known."""
    files = tuple(file.as_remote() for file in model.files)
    is_one = len(files) == 1 or (model.variant is not None and len(gguf_groups(files)) == 1)
    return Selection(model.repo_id, model.revision, model.commit, (), files, model.variant, one_file=is_one)


def _is_here(selection: Selection, wish: Wish, settings: Settings) -> bool:
    """Whether the network need not be asked, at a glance: `take` looks closer."""
    return not wish.force and _missing(selection, wish, settings) == []


def _missing(selection: Selection, wish: Wish, settings: Settings) -> list[RemoteFile]:
    repo = RepoCache(settings.cache_dir, selection.repo_id)
    cached = CacheDestination(repo, selection.commit, symlinks=settings.symlinks)
    return [
        file
        for file in selection.files
        if not cached.holds(file) and not _lies_in(wish.dest, selection, file)
    ]


def _missing_bytes(selection: Selection, wish: Wish, settings: Settings) -> int:
    return sum({file.etag: file.size_bytes for file in _missing(selection, wish, settings)}.values())


def _lies_in(dest: Path | None, selection: Selection, file: RemoteFile) -> bool:
    path = None if dest is None else dest / selection.repo_id / file.path
    return path is not None and path.is_file() and path.stat().st_size == file.size_bytes


class _LockedSource:
    """Where the bytes of one locked model come from: its index, once that was found to agree with the lock."""

    def __init__(self, model: LockedModel, index_url: str, settings: Settings, out: Output) -> None:
        self.index_url = index_url
        self._model = model
        self._settings = settings
        self._out = out
        self._source = _open(index_url, model.repo_id, settings, out)
        self._others = [
            one for one in open_indexes(settings, out).sources if one.index_url != self._source.index_url
        ]
        self._listing: tuple[RemoteFile, ...] | None = None

    def listing(self) -> tuple[RemoteFile, ...]:
        """What the index lists for the commit; empty if it cannot be asked, and another place may hold the bytes."""
        if self._listing is None:
            try:
                self._listing = tuple(self._ask())
            except UnsafePath:
                raise
            except HoldfastError as error:
                if not self._others:
                    raise
                self._out.note(
                    f"{printable(self.index_url)} cannot tell about {self._model.name}: {printable(error.message)}"
                )
                self._listing = ()
            if self._listing:
                check_listing(self._model, self._listing, self.index_url)
        return self._listing

    def _ask(self) -> list[RemoteFile]:
        """A web address may be an index or a place of plain files: a lock does not say which."""
        repo_id, commit = self._model.repo_id, self._model.commit
        if self.index_url.startswith(REGISTRIES) and self._model.revision is not None:
            self._source.resolve(repo_id, self._model.revision)  # registries find a manifest by its tag only
        try:
            return self._source.list_files(repo_id, commit)
        except (NotFound, BadAnswer):
            if not self.index_url.startswith("http") or self.index_url in self._settings.indexes:
                raise
            try:
                place = open_place(self.index_url, self._settings, self._out)
                found = place.list_files(repo_id, commit)
            except HoldfastError:
                found = []
            if not found:
                raise
        self._source = place
        return found

    def opened(self, plan: Plan, say: Callable[[str], None]) -> Opener:
        """The bytes of the plan, from every place that is configured."""
        self.listing()
        return Mirrors(self._source, self._others, plan, say)


def _open(index_url: str, repo_id: str, settings: Settings, out: Output) -> Source:
    """Whatever a lock may name: an index, a folder, a bucket, a registry of images."""
    if index_url in settings.find_links:
        return open_place(index_url, settings, out)
    named = Reference(text=index_url, repo_id=repo_id, index_url=index_url)
    return open_source(named, settings, out).sources[0]


def check_listing(model: LockedModel, listing: Sequence[RemoteFile], index_url: str) -> None:
    """Raises HashMismatch unless the listing has every locked file, with the locked size and digests."""
    listed = {file.path: file for file in listing}
    for file in model.files:
        difference = _difference(file, listed.get(file.path))
        if difference is not None:
            what, locked, found = difference
            raise HashMismatch(
                f"{printable(index_url)} has another {printable(file.path)} for {model.name} than is locked: "
                f"{what} {found} instead of {locked}",
                hint="Nothing was fetched. A commit never changes: somebody changed the index, or the lock.",
                repo_id=model.repo_id,
                commit=model.commit,
                path=file.path,
                expected=locked,
                actual=found,
            )


def _difference(locked: LockedFile, found: RemoteFile | None) -> tuple[str, str, str] | None:
    if found is None:
        return "file", "one", "none"
    if found.size_bytes != locked.size_bytes:
        return "size", str(locked.size_bytes), str(found.size_bytes)
    if found.sha256 is not None and found.sha256 != locked.sha256:
        return "sha256", locked.sha256, found.sha256
    if found.sha256 is None and locked.git_oid not in (None, found.git_oid):
        return "git oid", str(locked.git_oid), str(found.git_oid)
    return None
