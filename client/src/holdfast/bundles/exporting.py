"""`bundle export`: out of the cache, and what the cache lacks out of the index first. Verified on the way.

Blobs come first and the manifest last: a folder with a manifest is a whole bundle. What an interrupted export left is
found by its name and hashed again, not copied again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holdfast.bundles.manifest import (
    ABSENT,
    EARLIER,
    HERE,
    NAME,
    SIGNATURE_NAME,
    Bundle,
    BundleFile,
    BundleRepo,
    read_manifest,
    write_manifest,
)
from holdfast.bundles.signatures import check_key, sign
from holdfast.cache.installed import snapshots_of
from holdfast.cache.layout import RepoCache, write_atomically
from holdfast.choosing.selection import Patterns
from holdfast.errors import FileInTheWay, HashMismatch, NotFound, Offline
from holdfast.fetching.disk import check_space, disk_errors
from holdfast.fetching.hashing import READ_BYTES, Digests, Expected, Hasher, hash_file
from holdfast.fetching.progress import Progress, open_progress
from holdfast.lists.licences import CARD, licence_in_card
from holdfast.output import Output
from holdfast.paths import is_inside, leads_outside
from holdfast.pulling import Pulled, Wish, pull
from holdfast.reference import Reference
from holdfast.settings import Settings
from holdfast.sources.archive import blob_key
from holdfast.sources.remote import RemoteFile
from holdfast.sources.stores import FolderStore
from holdfast.text import count, format_bytes, printable

INCOMPLETE = ".incomplete"
MAX_CARD_BYTES = 1 << 20


@dataclass(frozen=True)
class Exported:
    """A bundle that was made, and how many bytes were copied into it now."""

    folder: Path
    bundle: Bundle
    copied_bytes: int
    is_signed: bool

    def as_json(self) -> dict[str, Any]:
        """The result of `bundle export`."""
        here, earlier = self.bundle.blobs(HERE), self.bundle.blobs(EARLIER)
        return {
            "bundle": str(self.folder),
            "id": self.bundle.id,
            "repos": [{"repo_id": repo.repo_id, "commit": repo.commit} for repo in self.bundle.repos],
            "blobs": len(here),
            "size_bytes": sum(here.values()),
            "copied_bytes": self.copied_bytes,
            "since": list(self.bundle.since),
            "left_out_bytes": sum(earlier.values()),
            "signed": self.is_signed,
        }


def export(
    references: Sequence[Reference],
    folder: Path,
    settings: Settings,
    out: Output,
    *,
    patterns: Patterns,
    since: Sequence[Path] = (),
    key: Path | None = None,
    force: bool = False,
    yes: bool = False,
) -> Exported:
    """Afterwards the folder is a bundle of what the references mean, and the cache holds it too."""
    _check_free(folder, force=force)
    if key is not None:
        check_key(key)
    earlier = [read_bundle(path) for path in since]
    wish = Wish(patterns, dest=None, force=False, dry_run=False, yes=yes)
    pulled = [pull(reference, wish, settings, out) for reference in references]
    known = {sha256 for bundle in earlier for sha256 in bundle.blobs(HERE, EARLIER)}
    export = _Export(folder, known, settings, out)
    repos = export.carry(_listings(pulled, settings))
    ids = [one for bundle in earlier for one in (bundle.id, *bundle.since)]
    text = write_manifest(repos, ids)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (folder / SIGNATURE_NAME).unlink()
        write_atomically(folder / NAME, text.decode())
        for stale in folder.glob(f"*{INCOMPLETE}"):  # of an export that was killed
            stale.unlink()
    if key is not None:
        sign(folder, key)
    bundle = read_manifest(text, where=str(folder / NAME))
    return Exported(folder, bundle, export.copied_bytes, key is not None)


def _check_free(folder: Path, *, force: bool) -> None:
    if (folder / NAME).exists() and not force:
        raise FileInTheWay(
            f"{printable(folder)} holds a bundle already",
            hint="Choose another folder, or pass --force to make it anew; blobs that are still meant stay.",
            path=str(folder / NAME),
        )


def read_bundle(path: Path) -> Bundle:
    """The bundle in a folder, by its manifest, or the manifest alone. Its blobs are not looked at."""
    manifest = (path / NAME if path.is_dir() else path).absolute()
    try:
        return read_manifest(FolderStore(manifest.parent).read(manifest.name), where=printable(manifest))
    except NotFound as error:
        raise NotFound(
            f"no bundle at {printable(path)}",
            hint=f"It is a folder with a {NAME}, or that file.",
            path=str(path),
        ) from error


@dataclass(frozen=True)
class _Listing:
    """One commit: everything it lists, and where the files lie that are to be carried."""

    repo: RepoCache
    commit: str
    files: tuple[RemoteFile, ...]
    local: dict[str, Path]


def _listings(pulled: Iterable[Pulled], settings: Settings) -> list[_Listing]:
    """One for each commit, whichever references asked for some of it."""
    found: dict[tuple[str, str], _Listing] = {}
    for one in pulled:
        selection = one.plan.selection
        repo = RepoCache(settings.cache_dir, selection.repo_id)
        key = selection.repo_id, selection.commit
        if key not in found:
            found[key] = _Listing(repo, selection.commit, _whole_listing(repo, selection.commit), {})
        found[key].local.update({file.path: path for file, path in zip(one.plan.files, one.local_paths)})
    return list(found.values())


def _whole_listing(repo: RepoCache, commit: str) -> tuple[RemoteFile, ...]:
    """As a pull has kept it. Without it nobody could tell afterwards whether the bundle has all of the commit."""
    listed = repo.read_tree(commit)
    if listed is None:
        raise Offline(
            f"offline, and the cache does not know everything that {repo.repo_id}@{commit[:12]} lists",
            hint="Run without --offline once.",
            repo_id=repo.repo_id,
            commit=commit,
        )
    return tuple(listed)


class _Export:
    """The copying of one export: each blob once."""

    def __init__(self, folder: Path, known: set[str], settings: Settings, out: Output) -> None:
        self._folder = folder
        self._known = known
        self._settings = settings
        self._out = out
        self._done: dict[str, Digests] = {}  # by etag
        self.copied_bytes = 0

    def carry(self, listings: Sequence[_Listing]) -> list[BundleRepo]:
        """Afterwards the blobs lie in the folder; what their manifest says of them."""
        carried = {file.etag: file for one in listings for file in one.files if file.path in one.local}
        total = sum(file.size_bytes for file in carried.values() if file.sha256 not in self._known)
        present = sum(self._present_bytes(file) for file in carried.values())
        check_space(self._folder, max(total - present, 0))
        settings = self._settings
        mode = "off" if self._out.verbosity < 0 and settings.progress != "json" else settings.progress
        with open_progress(mode, total, len(carried), color=settings.color) as progress:
            return [self._repo(one, progress) for one in listings]

    def _present_bytes(self, file: RemoteFile) -> int:
        path = self._folder / blob_key(file.sha256) if file.sha256 else None
        return file.size_bytes if path is not None and path.exists() else 0

    def _repo(self, one: _Listing, progress: Progress) -> BundleRepo:
        files = [self._file(file, one.local.get(file.path), one, progress) for file in one.files]
        refs = {
            ref
            for snapshot in snapshots_of(one.repo)
            if snapshot.commit == one.commit
            for ref in snapshot.refs
        }
        card = one.local.get(CARD)
        license_id = licence_in_card(_beginning(card)) if card is not None else None
        return BundleRepo(one.repo.repo_id, one.commit, tuple(sorted(refs)), license_id, tuple(files))

    def _file(self, file: RemoteFile, local: Path | None, one: _Listing, progress: Progress) -> BundleFile:
        about = BundleFile(
            file.path, file.size_bytes, file.sha256, file.git_oid, file.sha256 is not None, ABSENT
        )
        if local is None:
            return about
        if file.sha256 in self._known:
            return replace(about, state=EARLIER)
        if file.etag not in self._done:
            progress.started(file.path, file.size_bytes, 0)
            with disk_errors(self._folder):
                self._done[file.etag] = self._copy(file, local, one, progress)
            progress.finished(file.path)
        sha256 = self._done[file.etag].sha256
        return replace(about, sha256=sha256, state=EARLIER if sha256 in self._known else HERE)

    def _copy(self, file: RemoteFile, local: Path, one: _Listing, progress: Progress) -> Digests:
        """Hashed while it is copied. What is there under the name is hashed again, and replaced if it is wrong."""
        expected = Expected(file.size_bytes, file.sha256, None if file.sha256 else file.git_oid)
        if file.sha256 is not None and (target := self._folder / blob_key(file.sha256)).exists():
            found = hash_file(target, with_git=False)
            if expected.difference(found) is None:
                progress.advanced(file.path, file.size_bytes)
                return found
        staged = self._folder / f"{file.etag}{INCOMPLETE}"
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            digests = _copy_hashing(local, staged, file, progress)
            _check(expected, digests, file, one)
            if digests.sha256 not in self._known:
                target = self._folder / blob_key(digests.sha256)
                if not is_inside(target, self._folder):
                    raise leads_outside(blob_key(digests.sha256), self._folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                staged.replace(target)
                self.copied_bytes += digests.size_bytes
        finally:
            staged.unlink(missing_ok=True)
        return digests


def _beginning(card: Path) -> bytes:
    """As much of a card as can be its front matter."""
    with card.open("rb") as file:
        return file.read(MAX_CARD_BYTES)


def _copy_hashing(source: Path, target: Path, file: RemoteFile, progress: Progress) -> Digests:
    hasher = Hasher(git_size=None if file.sha256 else file.size_bytes)
    with source.open("rb", buffering=0) as there, target.open("wb", buffering=0) as here:
        while data := there.read(READ_BYTES):
            hasher.update(data)
            here.write(data)
            progress.advanced(file.path, len(data))
    return hasher.digests()


def _check(expected: Expected, digests: Digests, file: RemoteFile, one: _Listing) -> None:
    difference = expected.difference(digests)
    if difference is None:
        return
    what, wanted, got = difference
    name = f"{one.repo.repo_id}@{one.commit[:12]}"
    raise HashMismatch(
        f"{what} mismatch: the cached {printable(file.path)} of {name}: expected {wanted}, got {got}",
        hint=f"Nothing of it was exported. Run holdfast check --repair {one.repo.repo_id}, then export again.",
        repo_id=one.repo.repo_id,
        commit=one.commit,
        path=file.path,
        expected=wanted,
        actual=got,
    )


def export_line(exported: Exported) -> str:
    """One closing line with counts and bytes."""
    here, earlier = exported.bundle.blobs(HERE), exported.bundle.blobs(EARLIER)
    left_out = f", {format_bytes(sum(earlier.values()))} left out as carried earlier" if earlier else ""
    signed = ", signed" if exported.is_signed else ""
    return (
        f"Bundle {exported.bundle.id[:12]}: {count(len(exported.bundle.repos), 'commit')}, "
        f"{count(len(here), 'blob')}, {format_bytes(sum(here.values()))}{left_out}{signed}."
    )
