"""A folder on this machine as upstream: plain files, or one repo of a Hugging Face cache.

A plain folder has no history, so it gets the commit that git would make of it: blobs, LFS pointers and trees as
git hashes them, no parent, and a fixed author and date. The same files always give the same commit hash,
wherever they lie, and anybody can check it with git.

A Hugging Face cache (`models--org--name/` with `refs/`, `snapshots/` and `trees/`) keeps upstream's commit hash,
but only if its own file list (`trees/<commit>.json`) shows that no file of the commit is missing: a commit id that
stands for other files than upstream's would be a lie. A snapshot without such a list is treated as a plain folder.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from mirror.upstream.base import RemoteCommit, RemoteFile, RemoteRef
from mirror.upstream.errors import (
    BadListing,
    EntryNotFound,
    RepoNotFound,
    RevisionNotFound,
    UpstreamUnavailable,
)
from registry.git import (
    Signature,
    commit_object,
    commit_object_oid,
    lfs_pointer_oid,
    start_git_hash,
    tree_oid,
)

PIECE_BYTES = 1 << 20
LFS_ABOVE_BYTES = 10_000_000
SKIPPED = frozenset({".git", ".cache", ".DS_Store", "__pycache__"})
AUTHOR = Signature("Holdfast", "holdfast@localhost", datetime(2000, 1, 1, tzinfo=UTC))
TITLE = "Files of a folder"
# What the public hub keeps in LFS by default, unless the folder has a .gitattributes of its own.
LFS_PATTERNS = (
    "*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gguf", "*.gz", "*.h5", "*.joblib", "*.lz4", "*.mlmodel",
    "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt",
    "*.pth", "*.rar", "*.safetensors", "*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst",
)  # fmt: skip
_CACHE = re.compile(r"(models|datasets)--(?:(?P<org>[^/]+?)--)?(?P<name>[^/]+)")
_SHA1 = re.compile(r"[0-9a-f]{40}")


def default_repo_id(folder: Path) -> str:
    """The repo id that a folder's name suggests: that of a cache, else `local/<name>`."""
    if found := _CACHE.fullmatch(folder.name):
        return f"{found['org'] or 'local'}/{found['name']}"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-.") or "folder"
    return f"local/{name[:96]}"


class Directory:
    """The client of one folder."""

    def __init__(self, endpoint: str) -> None:
        self._root = Path(endpoint)

    def resolve(self, repo_id: str, revision: str) -> RemoteCommit:
        """The commit of the files as they lie there now; for a plain folder, reads all of them once."""
        if not self._root.is_dir():
            raise RepoNotFound(repo_id, str(self._root))
        if not self._is_cache():
            return self._made_commit(repo_id, self._root, revision)
        named = self._root / "refs" / revision
        is_ref = not _SHA1.fullmatch(revision) and ".." not in revision and named.is_file()
        commit_hash = named.read_text(encoding="ascii").strip() if is_ref else revision
        snapshot = self._root / "snapshots" / commit_hash
        if not _SHA1.fullmatch(commit_hash) or not snapshot.is_dir():
            raise RevisionNotFound(repo_id, revision, str(self._root))
        if self._listed(commit_hash) is None:
            return self._made_commit(repo_id, snapshot, "main", {"cached_commit": commit_hash})
        return RemoteCommit(repo_id, commit_hash, info={"folder": str(self._root)})

    def list_files(self, repo_id: str, commit_hash: str) -> list[RemoteFile]:
        """The files of that commit; raises RevisionNotFound when the folder has changed since."""
        folder = self._folder_of(repo_id, commit_hash)
        listed = self._listed(commit_hash) if self._is_cache() else None
        if listed is None:
            return _scan(repo_id, folder)
        for file in listed:
            if not (folder / file.path).is_file():
                why = "which this cache does not hold; complete it with `hf download`"
                raise BadListing(repo_id, commit_hash, file.path, why)
        return listed

    def list_refs(self, repo_id: str) -> list[RemoteRef]:
        """`main` of a plain folder; the refs that a cache remembers."""
        if not self._is_cache():
            return [RemoteRef("branch", "main", self._made_commit(repo_id, self._root, "main").commit_hash)]
        refs = self._root / "refs"
        found = [item for item in sorted(refs.rglob("*")) if item.is_file()]
        names = {
            item.relative_to(refs).as_posix(): item.read_text(encoding="ascii").strip() for item in found
        }
        return [
            RemoteRef("branch", name, commit_hash)
            for name, commit_hash in names.items()
            if _SHA1.fullmatch(commit_hash) and not name.startswith("refs/")
        ]

    def commit_object(self, repo_id: str, commit_hash: str) -> bytes | None:
        """What git would make of the folder; a cache does not keep the objects of its commits."""
        if self._is_cache() and self._listed(commit_hash) is not None:
            return None
        return self._object(repo_id, self._folder_of(repo_id, commit_hash))

    @contextmanager
    def open(
        self, repo_id: str, commit_hash: str, file: RemoteFile, start: int = 0
    ) -> Iterator[Iterator[bytes]]:
        """The bytes of the file from `start`. They are hashed again by the caller, so a change is noticed."""
        path = self._folder_of(repo_id, commit_hash, check=False) / file.path
        try:
            opened = path.open("rb")
        except FileNotFoundError:
            raise EntryNotFound(repo_id, commit_hash, file.path, str(self._root)) from None
        except OSError as error:
            raise UpstreamUnavailable(str(self._root), str(path), str(error)) from error
        with opened:
            opened.seek(start)
            yield iter(lambda: opened.read(PIECE_BYTES), b"")

    # --- folders ------------------------------------------------------------------------------------------

    def _is_cache(self) -> bool:
        return (self._root / "snapshots").is_dir() and bool(_CACHE.fullmatch(self._root.name))

    def _made_commit(
        self, repo_id: str, folder: Path, revision: str, info: dict[str, Any] | None = None
    ) -> RemoteCommit:
        made = commit_object_oid(self._object(repo_id, folder))
        if revision not in ("main", made):
            raise RevisionNotFound(repo_id, revision, str(folder))
        return RemoteCommit(
            repo_id, made, title=TITLE, author=AUTHOR.name, committed_at=AUTHOR.when,
            info={"folder": str(self._root), **(info or {})},
        )  # fmt: skip

    def _object(self, repo_id: str, folder: Path) -> bytes:
        oids = {file.path: file.git_oid or "" for file in _scan(repo_id, folder)}
        return commit_object(tree_oid(oids), author=AUTHOR, message=TITLE)

    def _folder_of(self, repo_id: str, commit_hash: str, *, check: bool = True) -> Path:
        """Where the files of the commit lie."""
        if not self._is_cache():
            candidates = [self._root]
        elif (kept := self._root / "snapshots" / commit_hash).is_dir():
            return kept
        else:
            candidates = sorted((self._root / "snapshots").iterdir())
        for folder in candidates:
            if (not check and len(candidates) == 1) or self._makes(repo_id, folder, commit_hash):
                return folder
        raise RevisionNotFound(repo_id, commit_hash, str(self._root))

    def _makes(self, repo_id: str, folder: Path, commit_hash: str) -> bool:
        return self._made_commit(repo_id, folder, "main").commit_hash == commit_hash

    def _listed(self, commit_hash: str) -> list[RemoteFile] | None:
        """The commit's complete file list as the hub client left it, or None if there is none that we can read."""
        try:
            listed = json.loads((self._root / "trees" / f"{commit_hash}.json").read_bytes())
            return [
                RemoteFile(
                    path, file.get("lfs_size") or file["size"], file["blob_id"], file.get("lfs_sha256")
                )
                for path, file in listed["files"].items()
                if listed["format_version"] == 1
            ] or None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _scan(repo_id: str, folder: Path) -> list[RemoteFile]:
    """Every file below the folder with its digests; reads what was not read, or was changed, since last time."""
    patterns = _lfs_patterns(folder)
    files = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if SKIPPED.intersection(relative.parts) or not path.is_file():
            continue
        _refuse_strange(repo_id, folder, path)
        stat = path.stat()
        is_lfs = stat.st_size > LFS_ABOVE_BYTES or any(
            fnmatchcase(path.name, pattern) or fnmatchcase(relative.as_posix(), pattern)
            for pattern in patterns
        )
        digest = _digest(path, stat.st_size, stat.st_mtime_ns, stat.st_ino, is_lfs)
        oid = lfs_pointer_oid(digest, stat.st_size) if is_lfs else digest
        files.append(RemoteFile(relative.as_posix(), stat.st_size, oid, digest if is_lfs else None))
    return files


def _refuse_strange(repo_id: str, folder: Path, path: Path) -> None:
    """A name must be UTF-8, and a symbolic link must stay in the folder, or for a cache in the repo's `blobs/`."""
    shown = path.relative_to(folder).as_posix()
    if shown != shown.encode(errors="replace").decode():
        raise BadListing(
            repo_id, "0" * 40, shown.encode(errors="replace").decode(), "a name that is not UTF-8"
        )
    real, home = path.resolve(), folder.resolve()
    allowed = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    if not any(real.is_relative_to(place) for place in allowed):
        raise BadListing(repo_id, "0" * 40, shown, "a link to outside of the folder")


def _lfs_patterns(folder: Path) -> tuple[str, ...]:
    """Which names are LFS objects: what .gitattributes says, or the public hub's defaults."""
    attributes = folder / ".gitattributes"
    if not attributes.is_file():
        return LFS_PATTERNS
    lines = attributes.read_text(encoding="utf-8", errors="replace").splitlines()
    return tuple(line.split()[0] for line in lines if "filter=lfs" in line.split())


@lru_cache(maxsize=100_000)
def _digest(path: Path, size: int, modified_ns: int, inode: int, is_lfs: bool) -> str:
    """The sha256 of the bytes, or their git oid; kept while size, time and inode stay the same."""
    digest = hashlib.sha256() if is_lfs else start_git_hash("blob", size)
    with path.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
