"""The Hub-compatible API of one index, read side: revision to commit, commit to files, variant to files.

Nothing in an answer is believed without a look: commits are 40 hex digits, paths pass `paths.check_path`, sizes are
counts, every file has a digest, no path comes twice, pages end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial as bind
from typing import Any
from urllib.parse import quote, urlencode, urljoin

from holdfast.choosing.choices import read_choice
from holdfast.errors import AuthFailed, BadAnswer, Gated, HoldfastError, NotFound, RepoNotFound
from holdfast.network.patience import with_patience
from holdfast.network.transport import MAX_JSON_BYTES, Answer, Transport, said, show_url
from holdfast.paths import check_path
from holdfast.reference import is_repo_id
from holdfast.sources.remote import COMMIT, SHA256, RemoteFile, VariantAnswer
from holdfast.sources.source import OpenRange
from holdfast.text import printable

MAX_FILES = 1_000_000
MAX_FILE_BYTES = 1 << 50
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')


class Hub:
    """One index. Every method asks the network; only what `find` and `is_private` want is kept."""

    def __init__(self, index_url: str, transport: Transport, *, retries: int) -> None:
        self.index_url = index_url
        self._transport = transport
        self._retries = retries
        self._private: dict[str, bool] = {}
        self._found: dict[tuple[str, str], dict[str, RemoteFile]] = {}

    def resolve(self, repo_id: str, revision: str) -> str:
        """The commit that the revision names. Raises RepoNotFound for an unknown repo, NotFound for a revision."""
        url = f"{self.index_url}/api/models/{repo_id}/revision/{quote(revision, safe='')}"
        try:
            info, _answer = self._get_json(url, f"{repo_id}@{revision}")
        except RepoNotFound:
            raise
        except NotFound as error:
            if "error_code" not in error.facts:
                self._check_known(repo_id)
            raise
        commit = info.get("sha") if isinstance(info, dict) else None
        if not isinstance(commit, str) or not COMMIT.match(commit):
            raise _malformed(url, f"no commit for {repo_id}@{revision}")
        self._private[repo_id] = info.get("private") is True
        return commit

    def is_private(self, repo_id: str) -> bool:
        """Whether strangers must not hear of the repo. What cannot be found out counts as private."""
        if repo_id not in self._private:
            try:
                info, _answer = self._get_json(f"{self.index_url}/api/models/{repo_id}", repo_id)
            except HoldfastError:
                return True
            self._private[repo_id] = not isinstance(info, dict) or info.get("private") is True
        return self._private[repo_id]

    def _check_known(self, repo_id: str) -> None:
        """Raises RepoNotFound if a bare 404 for the repo says so: not every hub tells what it did not find."""
        with_patience(self._retries, lambda: self._ask_known(repo_id))

    def _ask_known(self, repo_id: str) -> None:
        with self._transport.open(f"{self.index_url}/api/models/{repo_id}") as answer:
            if answer.status == 404 and "json" in answer.headers.get("Content-Type", ""):
                refusal = refusal_of(answer, repo_id)
                raise RepoNotFound(refusal.message, hint=refusal.hint, **refusal.facts)

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        """Every file of the commit, all pages, checked and sorted by path."""
        name = f"{repo_id}@{commit[:12]}"
        url: str | None = f"{self.index_url}/api/models/{repo_id}/tree/{commit}?recursive=true&expand=false"
        files: dict[str, RemoteFile] = {}
        seen: set[str] = set()
        while url is not None:
            seen.add(url)
            entries, answer = self._get_json(url, name)
            _add_page(files, entries, name, url)
            url = _next_page(answer)
            if url in seen or len(files) > MAX_FILES:
                raise _malformed(answer.url, f"the listing of {name} does not end")
        return sorted(files.values(), key=lambda file: file.path)

    def resolve_variant(self, repo_id: str, revision: str, variant: str) -> VariantAnswer | None:
        """Where the index keeps a variant of this repo, in whichever repo; None if it has no such service."""
        query = urlencode({"revision": revision, "variant": variant})
        url = f"{self.index_url}/api/holdfast/v1/resolve/{repo_id}?{query}"
        return with_patience(self._retries, lambda: self._ask_variant(url))

    def get(self, path: str, name: str) -> tuple[Any, str | None]:
        """What the index answers to a path below it, or to the address of a next page; and the one after that."""
        url = path if "://" in path else f"{self.index_url}/{path}"
        found, answer = self._get_json(url, name)
        return found, _next_page(answer)

    def ask(self, path: str) -> Any | None:
        """What a Holdfast index answers below /api/holdfast/v1; None if it has no such service, or nothing to say."""
        url = f"{self.index_url}/api/holdfast/v1/{path}"
        return with_patience(self._retries, lambda: self._ask_own(url))

    def _ask_own(self, url: str) -> Any | None:
        with self._transport.open(url) as answer:
            if answer.status != 200 or "json" not in answer.headers.get("Content-Type", ""):
                return None
            return _parse_json(answer)

    def _ask_variant(self, url: str) -> VariantAnswer | None:
        with self._transport.open(url) as answer:
            if answer.status not in (200, 400, 404) or "json" not in answer.headers.get("Content-Type", ""):
                return None
            found = _parse_json(answer)
        if not isinstance(found, dict) or not isinstance(found.get("choices"), list):
            return None
        return _variant_answer(found, url)

    def file_url(self, repo_id: str, commit: str, path: str) -> str:
        """Where the bytes of one file are."""
        return f"{self.index_url}/{repo_id}/resolve/{commit}/{quote(path)}"

    @contextmanager
    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> Iterator[Answer]:
        """Bytes [start, end) of a file; end None means to its end. Yields an answer with status 200 or 206."""
        headers = {}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
        with self._transport.open(self.file_url(repo_id, commit, path), headers) as answer:
            if answer.status not in (200, 206):
                raise refusal_of(answer, f"{repo_id}@{commit[:12]}//{path}")
            yield answer

    def find(self, repo_id: str | None, commit: str, file: RemoteFile) -> OpenRange | None:
        """The same bytes here: under the same commit and path, or wherever a Holdfast index knows the sha256."""
        if repo_id is not None and self._lists(repo_id, commit, file):
            return bind(self.open_file, repo_id, commit, file.path)
        return self._find_digest(file) if file.known_sha256 else None

    def _lists(self, repo_id: str, commit: str, file: RemoteFile) -> bool:
        if (repo_id, commit) not in self._found:
            try:
                listed = self.list_files(repo_id, commit)
            except NotFound:
                listed = []
            self._found[repo_id, commit] = {one.path: one for one in listed}
        same = self._found[repo_id, commit].get(file.path)
        return same is not None and same.etag == file.etag

    def _find_digest(self, file: RemoteFile) -> OpenRange | None:
        url = f"{self.index_url}/api/holdfast/v1/files/{file.known_sha256}"
        try:
            found, _answer = self._get_json(url, file.path)
            places = [one for one in found["files"] if one.get("repo_type", "model") == "model"]
            repo_id, commit, path = (places[0][fact] for fact in ("repo_id", "commit", "path"))
        except (HoldfastError, KeyError, IndexError, TypeError, AttributeError):
            return None
        if not (is_repo_id(repo_id) and _is_hex(commit, COMMIT) and isinstance(path, str)):
            return None
        return bind(self.open_file, repo_id, commit, check_path(path, listed_by=show_url(url)))

    def _get_json(self, url: str, name: str) -> tuple[Any, Answer]:
        return with_patience(self._retries, lambda: self._ask_json(url, name))

    def _ask_json(self, url: str, name: str) -> tuple[Any, Answer]:
        with self._transport.open(url) as answer:
            if answer.status != 200:
                raise refusal_of(answer, name)
            return _parse_json(answer), answer


def _parse_json(answer: Answer) -> Any:
    body = answer.read_all(MAX_JSON_BYTES)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        kind = printable(answer.headers.get("Content-Type", "no content type"))
        raise _malformed(answer.url, f"{kind} instead of JSON") from error


def _malformed(url: str, what: str) -> BadAnswer:
    return BadAnswer(
        f"{show_url(url)} did not answer as a Hub-compatible index: {what}",
        hint="Check the address (-i, HOLDFAST_INDEX_URL); a login page or a proxy may be in between.",
        url=url,
    )


def _add_page(files: dict[str, RemoteFile], entries: Any, name: str, url: str) -> None:
    if not isinstance(entries, list):
        raise _malformed(url, f"the listing of {name} is not a list")
    for entry in entries:
        if not isinstance(entry, dict):
            raise _malformed(url, f"an entry in the listing of {name} is not an object")
        if entry.get("type", "file") != "file":
            continue
        file = parse_entry(entry, name, url)
        if file.path in files:
            raise _malformed(url, f"{printable(file.path)} comes twice in the listing of {name}")
        files[file.path] = file


def parse_entry(entry: Mapping[str, Any], name: str, url: str) -> RemoteFile:
    """One checked file of a /tree answer."""
    path = entry.get("path")
    if not isinstance(path, str):
        raise _malformed(url, f"an entry in the listing of {name} has no path")
    check_path(path, listed_by=name)
    lfs = entry.get("lfs")
    lfs = lfs if isinstance(lfs, dict) else {}
    size = lfs.get("size", entry.get("size"))
    sha256, git_oid = lfs.get("oid", lfs.get("sha256")), entry.get("oid")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_FILE_BYTES:
        raise _malformed(url, f"{path} in the listing of {name} has size {printable(repr(size))[:40]}")
    if lfs and not _is_hex(sha256, SHA256):
        raise _malformed(url, f"{path} in the listing of {name} has no sha256")
    if not lfs and not _is_hex(git_oid, COMMIT):
        raise _malformed(url, f"{path} in the listing of {name} has no digest")
    return RemoteFile(path, size, git_oid if _is_hex(git_oid, COMMIT) else None, sha256 if lfs else None)


def _is_hex(value: Any, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and bool(pattern.match(value))


def _next_page(answer: Answer) -> str | None:
    match = _NEXT.search(answer.headers.get("Link", ""))
    return urljoin(answer.url, match.group(1)) if match else None


def _variant_answer(found: Mapping[str, Any], url: str) -> VariantAnswer:
    repo_id, commit, files = found.get("repo_id"), found.get("commit"), found.get("files")
    try:
        choices = tuple(read_choice(choice) for choice in found["choices"])
        sha256_by_path = {str(file["path"]): file.get("sha256") for file in files or []}
    except (KeyError, TypeError, AttributeError) as error:
        raise _malformed(url, "a variant with missing fields") from error
    if sha256_by_path and not (isinstance(repo_id, str) and _is_hex(commit, COMMIT)):
        raise _malformed(url, "a variant without repo or commit")
    return VariantAnswer(repo_id, commit, sha256_by_path, choices)


def refusal_of(answer: Answer, name: str) -> HoldfastError:
    """What a 4xx means, by X-Error-Code first and by status second."""
    code = answer.headers.get("X-Error-Code", "")
    words = said(answer)
    facts = {"url": answer.url, "status": answer.status, "name": name}
    index = show_url(answer.url.partition("/api/")[0])
    if code == "GatedRepo":
        return Gated(
            f"{name} is gated: {words}", hint=f"Accept its conditions at {index}, then set HF_TOKEN.", **facts
        )
    if code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound"):
        noun = {"RepoNotFound": "repo", "RevisionNotFound": "revision", "EntryNotFound": "file"}[code]
        kind = RepoNotFound if code == "RepoNotFound" else NotFound
        return kind(f"no such {noun}: {name}", hint=_HINTS[code], said=words, error_code=code, **facts)
    if answer.status in (401, 403):
        hint = "Log in with a token that may read it: holdfast login (or HOLDFAST_TOKEN, HF_TOKEN)."
        return AuthFailed(f"{name}: access refused ({answer.status}): {words}", hint=hint, **facts)
    if answer.status in (404, 410):
        return NotFound(
            f"not found: {name}: {words}",
            hint="Check the spelling, and that -i names the right index.",
            **facts,
        )
    return BadAnswer(
        f"{name}: the index answered {answer.status}: {words}",
        hint="Run again with -v to see the request.",
        **facts,
    )


_HINTS = {
    "RepoNotFound": "Check the spelling and the index (-i). A private repo needs holdfast login, or HOLDFAST_TOKEN.",
    "RevisionNotFound": "Leave @revision out for main, or name another branch, tag or commit.",
    "EntryNotFound": "Leave //path out to see all files: holdfast pull --dry-run REF",
}
