"""`bundle.json`: what a bundle holds. The same content is always the same bytes, so the sha256 of the file is its id.

    {
     "format": "holdfast-bundle-1",
     "since": [<id of an earlier bundle>, …],     what lies in those is left out here
     "n_blobs": …, "size_bytes": …,               of the blobs that lie in this bundle
     "repos": [                                   sorted by repo_id and commit
      {"repo_id": …, "commit": <40 hex>, "refs": ["main", …], "license": … or null,
       "files": [                                 the whole listing of the commit, by path
        {"path": …, "size_bytes": …, "sha256": … or null, "git_oid": … or null, "is_lfs": …, "state": …}, …]}, …]
    }

`state` is `here` (`blobs/sha256/ab/cd/<sha256>` in this bundle), `earlier` (in one that `since` names) or `absent` (it
was not exported). A bundle is a stranger's file: everything is checked before anything is believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from holdfast.errors import BadAnswer
from holdfast.paths import check_path
from holdfast.reference import is_repo_id, is_revision
from holdfast.sources.hub import MAX_FILE_BYTES, MAX_FILES
from holdfast.sources.remote import COMMIT, SHA256, RemoteFile

FORMAT = "holdfast-bundle-1"
NAME = "bundle.json"
SIGNATURE_NAME = "bundle.json.sig"
HERE, EARLIER, ABSENT = "here", "earlier", "absent"


@dataclass(frozen=True)
class BundleFile:
    """One file of a commit. `is_lfs` says that the cache names it by sha256 and not by git's oid."""

    path: str
    size_bytes: int
    sha256: str | None
    git_oid: str | None
    is_lfs: bool
    state: str

    def as_remote(self) -> RemoteFile:
        """The file as an index lists it. What is carried outside LFS must have the sha256 as well."""
        if self.is_lfs:
            return RemoteFile(self.path, self.size_bytes, self.git_oid, self.sha256)
        pins = (self.sha256,) if self.sha256 else ()
        return RemoteFile(self.path, self.size_bytes, self.git_oid, None, pins)


@dataclass(frozen=True)
class BundleRepo:
    """One commit of one repo."""

    repo_id: str
    commit: str
    refs: tuple[str, ...]
    license: str | None
    files: tuple[BundleFile, ...]

    def carried(self, *states: str) -> list[BundleFile]:
        """The files in any of these states."""
        return [file for file in self.files if file.state in states]


@dataclass(frozen=True)
class Bundle:
    """What a manifest says. `id` is the sha256 of the file it was read from, or would be."""

    id: str
    since: tuple[str, ...]
    repos: tuple[BundleRepo, ...]

    def blobs(self, *states: str) -> dict[str, int]:
        """The size of every blob in any of these states, by sha256."""
        files = (file for repo in self.repos for file in repo.carried(*states))
        return {file.sha256: file.size_bytes for file in files if file.sha256 is not None}


def write_manifest(repos: Iterable[BundleRepo], since: Iterable[str]) -> bytes:
    """The text of a manifest: sorted, one value per line, no time and no place in it."""
    ordered = sorted(repos, key=lambda repo: (repo.repo_id, repo.commit))
    blobs = Bundle("", (), tuple(ordered)).blobs(HERE)
    manifest = {
        "format": FORMAT,
        "since": sorted(set(since)),
        "n_blobs": len(blobs),
        "size_bytes": sum(blobs.values()),
        "repos": [_as_json(repo) for repo in ordered],
    }
    return json.dumps(manifest, indent=1).encode() + b"\n"


def _as_json(repo: BundleRepo) -> dict[str, Any]:
    files = [asdict(file) for file in sorted(repo.files, key=lambda file: file.path)]
    return {
        "repo_id": repo.repo_id,
        "commit": repo.commit,
        "refs": sorted(repo.refs),
        "license": repo.license,
        "files": files,
    }


def read_manifest(text: bytes, *, where: str) -> Bundle:
    """What the text says. Raises BadAnswer for what no export writes, UnsafePath for a dangerous name."""
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']!r}")
        since = tuple(_hex(one, 64) for one in found["since"])
        repos = tuple(_repo(one) for one in found["repos"])
        bundle = Bundle(hashlib.sha256(text).hexdigest(), since, repos)
        _check_whole(bundle, found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadAnswer(
            f"{where} is not the manifest of a bundle: {_reason(error)}",
            hint="Nothing was taken. Make the bundle again, or check that it was copied whole.",
            where=where,
        ) from error
    return bundle


def _reason(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)[:200]


def _repo(one: Any) -> BundleRepo:
    repo_id, refs, license_id = one["repo_id"], one["refs"], one["license"]
    if not is_repo_id(repo_id):
        raise ValueError(f"{repo_id!r} is no repo")
    if not all(isinstance(ref, str) and is_revision(ref) and not COMMIT.match(ref) for ref in refs):
        raise ValueError(f"{repo_id} has a ref that is none")
    if not (license_id is None or isinstance(license_id, str)):
        raise ValueError(f"{repo_id} has a licence that is no text")
    files = tuple(_file(file, repo_id) for file in one["files"])
    if len({file.path for file in files}) < len(files) or len(files) > MAX_FILES:
        raise ValueError(f"{repo_id} lists a path twice, or more than {MAX_FILES}")
    return BundleRepo(repo_id, _hex(one["commit"], 40), tuple(refs), license_id, files)


def _file(one: Any, repo_id: str) -> BundleFile:
    path, size, state, is_lfs = one["path"], one["size_bytes"], one["state"], one["is_lfs"]
    sha256, git_oid = one["sha256"], one["git_oid"]
    if not isinstance(path, str):
        raise ValueError(f"{repo_id} has a path that is no text")
    check_path(path, listed_by=f"the bundle, {repo_id}")
    if type(size) is not int or not 0 <= size <= MAX_FILE_BYTES:
        raise ValueError(f"{path} has size {str(size)[:40]}")
    if type(is_lfs) is not bool or state not in (HERE, EARLIER, ABSENT):
        raise ValueError(f"{path} has state {str(state)[:40]!r}")
    _hex(sha256, 64) if is_lfs or state != ABSENT or sha256 is not None else None
    _hex(git_oid, 40) if not is_lfs or git_oid is not None else None
    return BundleFile(path, size, sha256, git_oid, is_lfs, state)


def _hex(value: Any, n_digits: int) -> str:
    pattern = SHA256 if n_digits == 64 else COMMIT
    if not isinstance(value, str) or not pattern.match(value):
        raise ValueError(f"{str(value)[:80]!r} is not {n_digits} hex digits")
    return value


def _check_whole(bundle: Bundle, found: Any) -> None:
    """What no single entry can be wrong about."""
    sizes: dict[str, int] = {}
    for file in (file for repo in bundle.repos for file in repo.files if file.sha256):
        if sizes.setdefault(str(file.sha256), file.size_bytes) != file.size_bytes:
            raise ValueError(f"{file.sha256} has two sizes")
    names = [(repo.repo_id, name) for repo in bundle.repos for name in (repo.commit, *repo.refs)]
    if len(set(names)) < len(names):
        raise ValueError("a commit or a ref of a repo comes twice")
    here = bundle.blobs(HERE)
    if (found["n_blobs"], found["size_bytes"]) != (len(here), sum(here.values())):
        raise ValueError("the number or the size of its blobs is not what it lists")
    if bundle.blobs(EARLIER) and not bundle.since:
        raise ValueError("blobs are left out, and no earlier bundle is named")
