"""`bundle import`: every commit of a bundle into the cache, by the machinery of a pull, the bundle being the index."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holdfast.bundles.manifest import EARLIER, HERE, NAME, Bundle, BundleRepo, read_manifest
from holdfast.bundles.signatures import check_signature
from holdfast.cache.layout import RepoCache
from holdfast.choosing.selection import Patterns, Selection
from holdfast.errors import NotFound
from holdfast.fetching.disk import disk_errors
from holdfast.network.transport import Answer
from holdfast.output import Output
from holdfast.paths import check_collisions
from holdfast.pulling import Pulled, Wish, take
from holdfast.settings import Settings
from holdfast.sources.bundled import BundleSource
from holdfast.sources.local import open_local
from holdfast.sources.remote import RemoteFile
from holdfast.sources.stores import FolderStore
from holdfast.text import printable


@dataclass(frozen=True)
class Imported:
    """What came out of one bundle."""

    folder: Path
    bundle: Bundle
    signed_by: str | None
    pulled: tuple[Pulled, ...]

    def as_json(self) -> dict[str, Any]:
        """An object of the list `imported`."""
        return {
            "bundle": str(self.folder),
            "id": self.bundle.id,
            "signed_by": self.signed_by,
            "pulled": [one.as_json() for one in self.pulled],
        }


def open_bundle(folder: Path, allowed_signers: Path | None) -> tuple[BundleSource, str | None]:
    """The bundle, its manifest checked; and who signed it, if that was asked for. Its blobs are not looked at."""
    store = FolderStore(folder.absolute())
    try:
        text = store.read(NAME)
    except NotFound as error:
        raise NotFound(
            f"no bundle at {printable(folder)}: it has no {NAME}",
            hint="An export that was interrupted has none either: run it again.",
            path=str(folder),
        ) from error
    signed_by = None if allowed_signers is None else check_signature(text, folder, allowed_signers)
    return BundleSource(store, read_manifest(text, where=printable(folder / NAME))), signed_by


def import_bundle(
    folder: Path, settings: Settings, out: Output, *, allowed_signers: Path | None = None
) -> Imported:
    """Afterwards every commit of the bundle is in the cache, verified, and its refs name it. Asks no network."""
    source, signed_by = open_bundle(folder, allowed_signers)
    if signed_by is not None:
        out.note(f"signed by {printable(signed_by)}")
    pulled = [_import_repo(repo, source, settings, out) for repo in source.bundle.repos if _carried(repo)]
    return Imported(folder, source.bundle, signed_by, tuple(pulled))


def _carried(repo: BundleRepo) -> tuple[RemoteFile, ...]:
    return tuple(file.as_remote() for file in repo.carried(HERE, EARLIER))


def _import_repo(repo: BundleRepo, source: BundleSource, settings: Settings, out: Output) -> Pulled:
    """Refs are written after the files: what a ref names is here."""
    files, listing = _carried(repo), tuple(file.as_remote() for file in repo.files)
    revision = "main" if "main" in repo.refs else next(iter(repo.refs), None)
    selection = Selection(repo.repo_id, revision, repo.commit, listing, files, None, one_file=False)
    check_collisions((file.path for file in files), listed_by=selection.name)
    wish = Wish(Patterns(), dest=None, force=False, dry_run=False, yes=True)
    opener = _Opener(source, settings.cache_dir)
    pulled = take(
        selection,
        lambda _plan, _say: opener,
        index_url=source.index_url,
        asked=selection.name,
        wish=wish,
        settings=replace(settings, offline=False),
        out=out,
    )
    cached = RepoCache(settings.cache_dir, repo.repo_id)
    with disk_errors(cached.folder):
        for ref in repo.refs:
            cached.write_ref(ref, repo.commit)
    return pulled


class _Opener:
    """The bundle; and for what an earlier bundle brought, whatever repo of the cache holds it."""

    def __init__(self, source: BundleSource, cache_dir: Path) -> None:
        self._source = source
        self._cache_dir = cache_dir

    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> AbstractContextManager[Answer]:
        repo = next(
            one for one in self._source.bundle.repos if (one.repo_id, one.commit) == (repo_id, commit)
        )
        file = next(one for one in repo.files if one.path == path)
        cached = self._cached(file.sha256, file.git_oid) if file.state == EARLIER else None
        if cached is not None:
            return open_local(cached, start, end)
        return self._source.open_file(repo_id, commit, path, start, end)

    def _cached(self, *digests: str | None) -> Path | None:
        """A blob of that name, of any repo. It is verified like any other bytes."""
        for digest in filter(None, digests):
            found = next(self._cache_dir.glob(f"models--*/blobs/{digest}"), None)
            if found is not None:
                return found
        return None

    def doubt(self, path: str) -> bool:
        """There is one source only."""
        return False
