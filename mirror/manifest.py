"""The manifest of a commit: one JSON object in the bucket from which its rows can be rebuilt without any database.

It lies at `commits/<repo_id>/<commit>.json` and is written once, before the rows. A person with `sha256sum` can
read it: every path is listed with the sha256 that is also the name of its blob, `blobs/sha256/ab/cd/<sha256>`.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from mirror.blobs.store import BlobStore, StoredDiffers, manifest_key

FORMAT = "holdfast-commit-1"


class ManifestDiffers(Exception):
    """The bucket has a manifest of this commit that lists other files."""

    code = "manifest-differs"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key} in the blob store lists other files for this commit than upstream does now. "
            "It was left as it is and nothing was published. Run `audit`; upstream may have lied once."
        )
        self.key = key


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One path of a commit. `git_oid` is of the bytes, or of the pointer for an LFS object."""

    path: str
    size_bytes: int
    sha256: str
    git_oid: str
    is_lfs: bool


def manifest_bytes(
    *, repo_id: str, repo_type: str, commit_hash: str, parents: Iterable[str], title: str, message: str, author: str,
    committed_at: datetime | None, recorded_at: datetime, files: Iterable[ManifestFile],
    upstream: dict[str, Any] | None = None, license_id: str = "", lineage: Iterable[dict[str, Any]] = (),
    recorded_by: str = "holdfast", git_object: bytes | None = None,
) -> bytes:  # fmt: skip
    """The manifest as JSON: keys in a fixed order, one line per value, files by path.

    `upstream` says where the bytes came from (kind, endpoint, repo_id, revision); `lineage` has an object per parent
    (relation, repo_id, commit_hash); `git_object` is the commit as git has it, in base64: it says what no other fact
    does, such as an author's address and a signature, and its sha1 proves the commit. Each may be unknown.
    """
    listed = [asdict(file) for file in sorted(files, key=lambda file: file.path)]
    manifest = {
        "format": FORMAT,
        "repo_id": repo_id,
        "repo_type": repo_type,
        "commit_hash": commit_hash,
        "parents": list(parents),
        "title": title,
        "message": message,
        "author": author,
        "committed_at": committed_at.isoformat() if committed_at else None,
        "recorded_at": recorded_at.isoformat(),
        "recorded_by": recorded_by,
        "upstream": upstream,
        "license": license_id,
        "lineage": list(lineage),
        "git_object": base64.b64encode(git_object).decode() if git_object else None,
        "n_files": len(listed),
        "size_bytes": sum(file["size_bytes"] for file in listed),
        "files": listed,
    }
    return _as_text(manifest)


def renamed(manifest: bytes, repo_id: str) -> bytes | None:
    """The manifest of the same commit in a repo that is called otherwise now; None if it cannot be read."""
    try:
        return _as_text(json.loads(manifest) | {"repo_id": repo_id})
    except (ValueError, TypeError):
        return None


def _as_text(manifest: dict[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n"


def write_manifest(store: BlobStore, repo_id: str, commit_hash: str, manifest: bytes) -> str:
    """The manifest is in the bucket; returns the sha256 of the one that is there.

    Idempotent: one that an earlier attempt wrote stays as it is, so a commit has the same manifest for ever.
    Raises ManifestDiffers when that one lists other files.
    """
    key = manifest_key(repo_id, commit_hash)
    if not _put_first(store, key, manifest):
        present = store.read(key)
        if _files_of(present) != _files_of(manifest):
            raise ManifestDiffers(key)
        manifest = present
    return hashlib.sha256(manifest).hexdigest()


def _put_first(store: BlobStore, key: str, manifest: bytes) -> bool:
    """True if this manifest is the one that is stored now because there was none."""
    if store.stat(key) is not None:
        return False
    try:
        return store.put(key, manifest)
    except StoredDiffers:  # somebody was faster, and another time of day makes another size
        return False


def _files_of(manifest: bytes) -> Any:
    try:
        return json.loads(manifest)["files"]
    except (ValueError, KeyError, TypeError):
        return None
