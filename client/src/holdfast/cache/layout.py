"""The Hugging Face cache layout, so that what we pull is where every other tool looks.

    <cache>/models--org--name/
        blobs/<etag>                       the bytes, named by sha256 (LFS) or git oid
        blobs/<etag>.holdfast.incomplete   bytes on their way in, with a map of what has arrived beside it
        snapshots/<commit>/<path>          a relative symlink to the blob; a copy where links cannot be made
        refs/<revision>                    the commit it named when it was last pulled
        trees/<commit>.json                the whole listing, as huggingface_hub >= 2.4 keeps it
    <cache>/.locks/models--org--name/<etag>.lock
    <cache>/.locks/models--org--name/holdfast.use      see locks.py

We match huggingface_hub 2.4 (`file_download.py`, `_tree_cache.py`) name for name. There are two differences: the lock
against removals, and the name of unfinished files: older huggingface_hub appends to `<etag>.incomplete`, and ours has
holes, so it must never be taken for theirs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Callable

from holdfast.paths import is_inside, why_unsafe
from holdfast.reference import is_repo_segment
from holdfast.sources.remote import COMMIT, SHA256, RemoteFile

TREE_FORMAT_VERSION = 1
REPO_PREFIX = "models--"
INCOMPLETE = ".holdfast.incomplete"
_CACHEDIR_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder is a cache of model files, see https://bford.info/cachedir/\n"
)


@dataclass(frozen=True)
class RepoCache:
    """One repo's folder in the cache. Nothing is created before something is written."""

    cache_dir: Path
    repo_id: str

    @cached_property
    def folder(self) -> Path:
        return self.cache_dir / repo_folder_name(self.repo_id)

    @cached_property
    def _blobs(self) -> Path:
        return self.folder / "blobs"

    @cached_property
    def _locks(self) -> Path:
        return self.cache_dir / ".locks" / repo_folder_name(self.repo_id)

    def blob_path(self, etag: str) -> Path:
        return self._blobs / etag

    def staged_path(self, etag: str) -> Path:
        return self._blobs / f"{etag}{INCOMPLETE}"

    def lock_path(self, etag: str) -> Path:
        return self._locks / f"{etag}.lock"

    @property
    def use_lock_path(self) -> Path:
        """Shared by every pull of the repo, and held alone by whoever removes something of it."""
        return self._locks / "holdfast.use"

    def snapshot_path(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def read_ref(self, revision: str) -> str | None:
        """The commit a revision named when it was last pulled; a full commit names itself."""
        if COMMIT.match(revision):
            return revision
        if why_unsafe(revision):
            return None  # a branch that is called con or nul, on Windows: no file can have that name
        try:
            commit = (self.folder / "refs" / revision).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return commit if COMMIT.match(commit) else None

    def write_ref(self, revision: str, commit: str) -> None:
        """Afterwards the revision names the commit; nothing is written if it already does, or is the commit."""
        if revision == commit or why_unsafe(revision) or self.read_ref(revision) == commit:
            return
        write_atomically(self.folder / "refs" / revision, commit)

    def read_tree(self, commit: str) -> list[RemoteFile] | None:
        """The whole listing of a commit as kept by an earlier pull; None if none is kept or it cannot be used."""
        try:
            kept = json.loads((self.folder / "trees" / f"{commit}.json").read_text(encoding="utf-8"))
            if kept["format_version"] != TREE_FORMAT_VERSION:
                return None
            return [_kept_file(path, facts) for path, facts in sorted(kept["files"].items())]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write_tree(self, commit: str, files: Iterable[RemoteFile]) -> None:
        """Keeps the listing, so that later pulls of the commit, and `check`, need no network.

        No files mean that the whole listing is not known: nothing is written.
        """
        path = self.folder / "trees" / f"{commit}.json"
        listing = {file.path: _facts(file) for file in sorted(files, key=lambda file: file.path)}
        if listing and not path.exists():
            write_atomically(
                path, json.dumps({"format_version": TREE_FORMAT_VERSION, "files": listing}, indent=1)
            )


def repo_folder_name(repo_id: str) -> str:
    """`models--org--name`"""
    return REPO_PREFIX + repo_id.replace("/", "--")


def repo_id_of(folder_name: str) -> str | None:
    """The repo of a cache folder, None if the folder is not a model repo."""
    if not folder_name.startswith(REPO_PREFIX):
        return None
    segments = folder_name[len(REPO_PREFIX) :].split("--")
    return "/".join(segments) if len(segments) <= 2 and all(map(is_repo_segment, segments)) else None


def _facts(file: RemoteFile) -> dict[str, Any]:
    facts: dict[str, Any] = {"size": file.size_bytes, "blob_id": file.git_oid}
    if file.sha256 is not None:
        facts.update(lfs_sha256=file.sha256, lfs_size=file.size_bytes)
    return facts


def _kept_file(path: str, facts: dict[str, Any]) -> RemoteFile:
    file = RemoteFile(path, facts["size"], facts["blob_id"], facts.get("lfs_sha256"))
    digest_ok = SHA256.match(file.sha256) if file.sha256 is not None else COMMIT.match(file.git_oid or "")
    if why_unsafe(path) or not digest_ok or not isinstance(file.size_bytes, int):
        raise ValueError(path)
    return file


def write_atomically(path: Path, text: str) -> None:
    """Afterwards the file holds exactly the text; readers see the old or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        staged.write_bytes(text.encode("utf-8"))  # the same on every system, also where a line ends otherwise
        staged.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            staged.unlink()


def tag_cache(cache_dir: Path) -> None:
    """Marks the cache for backup programs; best effort."""
    tag = cache_dir / "CACHEDIR.TAG"
    if not tag.exists():
        with contextlib.suppress(OSError):
            tag.write_text(_CACHEDIR_TAG, encoding="utf-8")


def make_link_folder(folder: Path, snapshot: Path) -> None:
    """Afterwards the folder is there. Refuses (ValueError) one that leads out of the snapshot by a symlink."""
    if folder != snapshot and not is_inside(folder / "x", snapshot):
        raise ValueError(f"{folder} leads out of {snapshot}")
    folder.mkdir(parents=True, exist_ok=True)


def link_blob(blob: Path, pointer: Path, *, symlinks: bool) -> None:
    """Afterwards `pointer` shows the blob's bytes: by a relative symlink, else a hard link, else a copy.

    Its folder has been made by `make_link_folder`.
    """
    if _shows(pointer, blob):
        return
    staged = pointer.with_name(f"{pointer.name[:200]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        linked = symlinks and _linked(lambda: staged.symlink_to(os.path.relpath(blob, pointer.parent)))
        if not linked and not _linked(lambda: os.link(blob, staged)):
            shutil.copyfile(blob, staged)
        staged.replace(pointer)
    finally:
        with contextlib.suppress(FileNotFoundError):
            staged.unlink()


def link_new(blob: Path, pointer: Path) -> bool:
    """Whether the pointer is now a symlink to the blob and was not there before: one call, for the usual case."""
    return _linked(lambda: pointer.symlink_to(os.path.relpath(blob, pointer.parent)))


def _shows(pointer: Path, blob: Path) -> bool:
    """Whether the pointer is this blob, or a copy made since the blob was."""
    try:
        here, there = pointer.stat(), blob.stat()
    except OSError:
        return False
    if pointer.is_symlink() or (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
        return os.path.realpath(pointer) == os.path.realpath(blob) or not pointer.is_symlink()
    return here.st_size == there.st_size and here.st_mtime_ns >= there.st_mtime_ns


def _linked(link: Callable[[], None]) -> bool:
    """False where the disk, the platform or the user's rights know no such link."""
    try:
        link()
    except (OSError, NotImplementedError):
        return False
    return True
