"""The Hub's endpoints, as far as a mirror that can only be read needs them.

GET /api/models                                        what is here
GET /api/models/{repo}[/revision/{rev}]                one repo: its commit and files
GET /api/models/{repo}/tree/{rev}[/{folder}]           sizes and digests, by pages
GET /api/models/{repo}/refs                            revisions that are here
GET /{repo}/resolve/{rev}/{path}                       the bytes
GET /{repo}/sha256sums/{rev}                           digests, as `sha256sum --check` reads them
GET /{repo}/resolve/{rev}/SHA256SUMS                   the same, so that the folder is a tree of files with its sums
"""

from __future__ import annotations

import re
import time
from typing import Any, Callable
from urllib.parse import quote, unquote, urlencode

from holdfast.cache.installed import Snapshot, snapshots_of
from holdfast.cache.layout import RepoCache
from holdfast.serving.shelf import Held, Missing, Shelf, oid_of, pointer_of
from holdfast.serving.verified import Verified
from holdfast.serving.wire import HASH_WAIT_SECONDS, Question, Refused, Reply, as_json
from holdfast.sources.remote import RemoteFile
from holdfast.text import count, format_bytes

PAGE = 1000
SUMS = "SHA256SUMS"
REPO = r"(?P<repo>[^/]+(?:/[^/]+)??)"
View = Callable[..., Reply]


def find_view(path: str, routes: list[tuple[re.Pattern[str], View]]) -> tuple[View, dict[str, str]]:
    """The view for a path, and the parts of the path, percent-decoded once."""
    for pattern, view in routes:
        match = pattern.fullmatch(path)
        if match is not None:
            parts = {name: _decoded(value) for name, value in match.groupdict().items() if value is not None}
            return view, parts
    raise Refused(404, "there is no such endpoint here")


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise Refused(400, "the address is not UTF-8") from error


def welcome(question: Question, shelf: Shelf, verified: Verified) -> Reply:
    """What a person reads who opens the address in a browser."""
    names = shelf.repo_ids()
    lines = [
        "This is the model cache of one machine, served by holdfast. It can only be read.",
        "",
        f"  holdfast pull -i {question.base_url} ORG/NAME",
        f"  HF_ENDPOINT={question.base_url} hf download ORG/NAME",
        "",
        f"{count(len(names), 'repo')}:",
        *(f"  {name}" for name in names),
    ]
    return Reply(("\n".join(lines) + "\n").encode(), {"Content-Type": "text/plain; charset=utf-8"})


def list_repos(question: Question, shelf: Shelf, verified: Verified) -> Reply:
    """`search` (in the name), `author`, `limit` and pages."""
    wanted, author = question.query.get("search", "").casefold(), question.query.get("author", "").casefold()
    names = [
        name
        for name in shelf.repo_ids()
        if wanted in name.casefold() and (not author or name.casefold().startswith(f"{author}/"))
    ]
    shown, link = _page(names, question)
    found = [(name, shelf.newest(name)) for name in shown]
    return as_json([_about(name, newest) for name, newest in found if newest is not None], **link)


def show_repo(question: Question, shelf: Shelf, verified: Verified, *, repo: str, rev: str = "main") -> Reply:
    """A repo at a revision."""
    cached, commit = shelf.resolve(repo, rev)
    snapshot = next(one for one in snapshots_of(cached) if one.commit == commit)
    with_blobs = question.query.get("blobs", "").lower() in ("true", "1")
    siblings = [_sibling(file, with_blobs=with_blobs) for file in shelf.listing(cached, commit)]
    return as_json(
        {**_about(repo, snapshot), "siblings": siblings, "spaces": [], "cardData": None}, X_Repo_Commit=commit
    )


def show_tree(
    question: Question, shelf: Shelf, verified: Verified, *, repo: str, rev: str, folder: str = ""
) -> Reply:
    """Files and folders below a folder, all of them if `recursive`."""
    cached, commit = shelf.resolve(repo, rev)
    prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
    below = [file for file in shelf.listing(cached, commit) if file.path.startswith(prefix)]
    if prefix and not below:
        raise Missing("EntryNotFound", f"no folder {folder!r:.200} in {repo}@{commit[:12]}", commit)
    recursive = question.query.get("recursive", "").lower() in ("true", "1")
    shown, link = _page(_entries(below, prefix, recursive=recursive), question)
    return as_json(shown, X_Repo_Commit=commit, **link)


def show_refs(question: Question, shelf: Shelf, verified: Verified, *, repo: str) -> Reply:
    """The revisions that were pulled here, and what they named then."""
    cached, _commit = _any_commit(shelf, repo)
    named = [(ref, snapshot.commit) for snapshot in snapshots_of(cached) for ref in snapshot.refs]
    branches = [
        {"name": ref, "ref": f"refs/heads/{ref}", "targetCommit": commit} for ref, commit in sorted(named)
    ]
    return as_json({"branches": branches, "tags": [], "converts": []})


def send_file(
    question: Question, shelf: Shelf, verified: Verified, *, repo: str, rev: str, path: str
) -> Reply:
    """The bytes of one file."""
    cached, commit = shelf.resolve(repo, rev)
    try:
        held = shelf.held(cached, commit, path)
    except Missing:
        if path != SUMS:
            raise
        return _sums(shelf, verified, cached, commit)
    name = quote(path.rpartition("/")[2], safe="")
    return Reply(
        held, {"X-Repo-Commit": commit, "Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    )


def send_sums(question: Question, shelf: Shelf, verified: Verified, *, repo: str, rev: str) -> Reply:
    """The digests of what is here of a commit."""
    return _sums(shelf, verified, *shelf.resolve(repo, rev))


ROUTES: list[tuple[re.Pattern[str], View]] = [
    (re.compile(pattern), view)
    for pattern, view in (
        (r"/?", welcome),
        (r"/api/models/?", list_repos),
        (rf"/api/models/{REPO}/revision/(?P<rev>[^/]+)", show_repo),
        (rf"/api/models/{REPO}/tree/(?P<rev>[^/]+)(?:/(?P<folder>.*))?", show_tree),
        (rf"/api/models/{REPO}/refs", show_refs),
        (r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)", show_repo),
        (rf"/{REPO}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", send_file),
        (rf"/{REPO}/sha256sums/(?P<rev>[^/]+)", send_sums),
    )
]


# --- the shapes of answers ---------------------------------------------------------------------------


def _about(repo_id: str, snapshot: Snapshot) -> dict[str, Any]:
    changed = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(snapshot.modified_at))
    variants = snapshot.variants
    tags = [name.lower() for name in variants] + (
        ["gguf"] if any(f.path.endswith(".gguf") for f in snapshot.files) else []
    )
    return {
        "id": repo_id, "modelId": repo_id, "author": repo_id.partition("/")[0], "sha": snapshot.commit,
        "lastModified": changed, "createdAt": changed, "private": False, "gated": False, "disabled": False,
        "tags": tags, "downloads": 0, "likes": 0,
    }  # fmt: skip


def _sibling(file: RemoteFile, *, with_blobs: bool) -> dict[str, Any]:
    if not with_blobs:
        return {"rfilename": file.path}
    entry = _entry(file)
    shape = {"rfilename": file.path, "size": file.size_bytes, "blobId": entry["oid"]}
    if "lfs" in entry:
        shape["lfs"] = {
            "sha256": file.sha256,
            "size": file.size_bytes,
            "pointerSize": entry["lfs"]["pointerSize"],
        }
    return shape


def _entry(file: RemoteFile) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "file", "oid": oid_of(file), "size": file.size_bytes, "path": file.path}
    if file.sha256 is not None:
        shape["lfs"] = {"oid": file.sha256, "size": file.size_bytes, "pointerSize": len(pointer_of(file))}
    return shape


def _entries(files: list[RemoteFile], prefix: str, *, recursive: bool) -> list[dict[str, Any]]:
    """Folders have no digest here: the cache does not know git's trees."""
    entries = {}
    for file in files:
        *folders, _name = file.path[len(prefix) :].split("/")
        for depth in range(1, len(folders) + 1 if recursive else min(len(folders), 1) + 1):
            path = prefix + "/".join(folders[:depth])
            entries[path] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
        if recursive or not folders:
            entries[file.path] = _entry(file)
    return [entries[path] for path in sorted(entries)]


def _page(rows: list[Any], question: Question) -> tuple[list[Any], dict[str, str]]:
    """At most PAGE rows, and the header that leads to the rest."""
    start, limit = _number(question, "cursor", 0), min(max(_number(question, "limit", PAGE), 1), PAGE)
    if start + limit >= len(rows):
        return rows[start:], {}
    query = urlencode({**question.query, "cursor": start + limit})
    return rows[start : start + limit], {"Link": f'<{question.base_url}{question.path}?{query}>; rel="next"'}


def _number(question: Question, name: str, default: int) -> int:
    text = question.query.get(name, "")
    if text and not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Refused(400, f"{name} must be a number")
    return int(text) if text else default


def _any_commit(shelf: Shelf, repo: str) -> tuple[RepoCache, str]:
    newest = shelf.newest(repo)
    if newest is None:
        raise Missing("RepoNotFound", f"this cache does not hold {repo}")
    return newest.repo, newest.commit


def _sums(shelf: Shelf, verified: Verified, repo: RepoCache, commit: str) -> Reply:
    lines = [_sum_line(held, verified) for held in shelf.held_files(repo, commit)]
    return Reply(
        "".join(lines).encode(), {"Content-Type": "text/plain; charset=utf-8", "X-Repo-Commit": commit}
    )


def _sum_line(held: Held, verified: Verified) -> str:
    """Large files are named by their sha256 already; of small ones it is computed."""
    sha256 = held.file.sha256
    if sha256 is None:
        verdict, digests = verified.verdict(held, held.local.stat(), wait_seconds=HASH_WAIT_SECONDS)
        if verdict != "good" or digests is None:
            raise Refused(503, f"{held.file.path!r:.200} is {verdict}; ask again", Retry_After="2")
        sha256 = digests.sha256
    return f"{sha256}  {held.file.path}\n"


def describe(shelf: Shelf) -> str:
    """`12 repos, 81.3 GB`"""
    names = shelf.repo_ids()
    newest = [shelf.newest(name) for name in names]
    size = sum(snapshot.size_bytes for snapshot in newest if snapshot is not None)
    return f"{count(len(names), 'repo')}, {format_bytes(size)}"
