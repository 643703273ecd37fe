"""A Hub-compatible endpoint as upstream: huggingface.co, one of its mirrors, or another Holdfast.

Requests: `/api/models/{repo}/revision/{rev}`, `/commits`, `/tree?recursive` over all its pages, `/refs`, and
`/resolve/{commit}/{path}` for the bytes. Xet data is never asked for nor passed on: the plain HTTP path is the
one that every mirror of a hub has.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote, urljoin

from mirror.upstream.base import RemoteCommit, RemoteFile, RemoteRef
from mirror.upstream.errors import (
    AccessDenied,
    BadAnswer,
    BadListing,
    EntryNotFound,
    RateLimited,
    RepoNotFound,
    RevisionNotFound,
    UpstreamError,
)
from mirror.upstream.git import fetch_commit
from mirror.upstream.http import Http, Response, Timeouts
from mirror.upstream.pace import Pace
from mirror.upstream.stream import read_range

MAX_FILES = 250_000  # the public hub advises 100,000; a list that never ends must not fill our memory
# Commit objects are good to have, and no reason to keep somebody waiting who wants a file.
GIT_TIMEOUTS = Timeouts(connect_seconds=3, read_seconds=5)
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NEXT = re.compile(r'<([^>]+)>\s*;[^,]*rel="?next"?')


class HuggingFace:
    """The client of one endpoint. Shared by threads; connections are kept."""

    def __init__(
        self, endpoint: str, *, token: str | None = None, allow: frozenset[str] = frozenset(),
        repo_type: str = "model", timeouts: Timeouts | None = None, pace: Pace | None = None,
    ) -> None:  # fmt: skip
        self.endpoint = endpoint.rstrip("/")
        self._http = Http(self.endpoint, token=token, allow=allow, timeouts=timeouts, pace=pace)
        self._git = Http(
            self.endpoint, token=token, allow=allow, timeouts=timeouts or GIT_TIMEOUTS, pace=pace
        )
        self._kind = "datasets" if repo_type == "dataset" else "models"

    def resolve(self, repo_id: str, revision: str) -> RemoteCommit:
        """The commit that the revision means now. Two requests."""
        info = self._ask(f"{self._api(repo_id)}/revision/{quote(revision, safe='')}", repo_id, revision)
        commit_hash = info.get("sha") if isinstance(info, dict) else None
        if not isinstance(commit_hash, str) or not _SHA1.fullmatch(commit_hash):
            raise BadAnswer(self._http.where, f"{repo_id}@{revision}", f"its commit is {commit_hash!r}")
        name = info.get("id")
        return RemoteCommit(
            repo_id=name if isinstance(name, str) and name else repo_id,
            commit_hash=commit_hash,
            info=_without_xet(info),
            **self._history(repo_id, commit_hash, info),
        )

    def list_files(self, repo_id: str, commit_hash: str) -> list[RemoteFile]:
        """Every file of the commit, over all pages."""
        url = f"{self._api(repo_id)}/tree/{commit_hash}?recursive=true&expand=false"
        files: list[RemoteFile] = []
        seen: set[str] = set()
        while url:
            if url in seen or len(files) > MAX_FILES:
                raise BadListing(repo_id, commit_hash, f"page {len(seen) + 1}", "the list does not end")
            seen.add(url)
            headers, page = self._ask_page(url, repo_id, commit_hash)
            files += [_file(repo_id, commit_hash, entry) for entry in page if _is_file(entry)]
            found = _NEXT.search(headers.get("Link", ""))
            url = urljoin(url, found[1]) if found else ""
        return files

    def list_refs(self, repo_id: str) -> list[RemoteRef]:
        """Every branch and tag that names a commit."""
        refs = self._ask(f"{self._api(repo_id)}/refs", repo_id, "")
        if not isinstance(refs, dict):
            raise BadAnswer(self._http.where, f"the refs of {repo_id}", "not an object")
        return [*_refs("branch", refs.get("branches")), *_refs("tag", refs.get("tags"))]

    def commit_object(self, repo_id: str, commit_hash: str) -> bytes | None:
        """Git's own object of the commit, where the endpoint also speaks git. Two requests."""
        return fetch_commit(self._git, f"{self._pages(repo_id)}.git", commit_hash)

    def open(
        self, repo_id: str, commit_hash: str, file: RemoteFile, start: int = 0
    ) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of the file from `start`; see the contract."""
        url = f"{self._pages(repo_id)}/resolve/{commit_hash}/{quote(file.path)}"

        @contextmanager
        def ask(headers: Mapping[str, str]) -> Iterator[Response]:
            with self._http.get(url, headers) as response:
                if response.status not in (200, 206, 416):
                    self._refuse(response.status, response.headers, repo_id, commit_hash, file.path)
                yield response

        return read_range(ask, file, start, where=self._http.where, repo_id=repo_id, commit_hash=commit_hash)

    # --- asking -------------------------------------------------------------------------------------------

    def _api(self, repo_id: str) -> str:
        return f"{self.endpoint}/api/{self._kind}/{quote(repo_id)}"

    def _pages(self, repo_id: str) -> str:
        prefix = f"{self.endpoint}/datasets" if self._kind == "datasets" else self.endpoint
        return f"{prefix}/{quote(repo_id)}"

    def _ask(self, url: str, repo_id: str, revision: str) -> Any:
        status, headers, answer = self._http.get_json(url)
        if status != 200:
            self._refuse(status, headers, repo_id, revision)
        return answer

    def _ask_page(self, url: str, repo_id: str, commit_hash: str) -> tuple[Mapping[str, str], list[Any]]:
        status, headers, answer = self._http.get_json(url)
        if status != 200:
            self._refuse(status, headers, repo_id, commit_hash)
        if not isinstance(answer, list):
            raise BadAnswer(self._http.where, f"the files of {repo_id}@{commit_hash[:8]}", "not a list")
        return headers, answer

    def _refuse(
        self, status: int, headers: Mapping[str, str], repo_id: str, revision: str, path: str = ""
    ) -> None:
        """Raises what the status and the hub's X-Error-Code mean."""
        where, code = self._http.where, headers.get("X-Error-Code", "")
        said = headers.get("X-Error-Message", "")
        if code == "GatedRepo" or (status in (401, 403) and code != "RepoNotFound"):
            raise AccessDenied(repo_id, where, status, gated=code == "GatedRepo", said=said)
        if code == "EntryNotFound" or (status == 404 and path and not code):
            raise EntryNotFound(repo_id, revision, path, where)
        if code == "RevisionNotFound":
            raise RevisionNotFound(repo_id, revision, where)
        if status in (401, 404):
            raise RepoNotFound(repo_id, where)
        raise BadAnswer(where, f"{repo_id} {path}".strip(), f"status {status}")

    def _history(self, repo_id: str, commit_hash: str, info: dict[str, Any]) -> dict[str, Any]:
        """Title, message, author and date of the commit. Not every mirror of a hub keeps them: then only a date."""
        fallback = {"committed_at": _date(info.get("lastModified"))}
        try:
            newest = self._ask(f"{self._api(repo_id)}/commits/{commit_hash}?limit=1", repo_id, commit_hash)
        except RateLimited:
            raise
        except UpstreamError:
            return fallback
        if not (isinstance(newest, list) and newest and isinstance(newest[0], dict)):
            return fallback
        one = newest[0]
        authors = [who.get("user", "") for who in one.get("authors") or [] if isinstance(who, dict)]
        return {
            "title": str(one.get("title") or ""),
            "message": str(one.get("message") or ""),
            "author": ", ".join(str(name) for name in authors if name),
            "committed_at": _date(one.get("date")) or fallback["committed_at"],
        }


def _is_file(entry: Any) -> bool:
    return not (isinstance(entry, dict) and entry.get("type") == "directory")


def _file(repo_id: str, commit_hash: str, entry: Any) -> RemoteFile:
    """One entry of the listing, its shape checked; the path is judged later."""
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str):
        raise BadListing(repo_id, commit_hash, str(entry)[:80], "an entry without a path")
    lfs = entry.get("lfs") or {}
    size = lfs.get("size", entry.get("size")) if isinstance(lfs, dict) else None
    sha256 = lfs.get("oid") if isinstance(lfs, dict) else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise BadListing(repo_id, commit_hash, path, f"its size is {size!r}")
    oid = entry.get("oid")
    if not isinstance(oid, str) or not _SHA1.fullmatch(oid):
        raise BadListing(repo_id, commit_hash, path, f"its git oid is {oid!r}")
    if lfs and (not isinstance(sha256, str) or not _SHA256.fullmatch(sha256)):
        raise BadListing(repo_id, commit_hash, path, f"its sha256 is {sha256!r}")
    return RemoteFile(path, size, oid, sha256)


def _refs(kind: Literal["branch", "tag"], listed: Any) -> Iterator[RemoteRef]:
    for ref in listed if isinstance(listed, list) else []:
        name, commit_hash = (
            (ref.get("name"), ref.get("targetCommit")) if isinstance(ref, dict) else (None, None)
        )
        if isinstance(name, str) and isinstance(commit_hash, str) and _SHA1.fullmatch(commit_hash):
            yield RemoteRef(kind, name, commit_hash)


def _without_xet(value: Any) -> Any:
    """The hub's own words about the repo, without Xet (which we do not serve) and the file list (which we keep)."""
    if isinstance(value, dict):
        return {
            key: _without_xet(inner)
            for key, inner in value.items()
            if not key.lower().startswith("xet") and key != "siblings"
        }
    return [_without_xet(inner) for inner in value] if isinstance(value, list) else value


def _date(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else None
