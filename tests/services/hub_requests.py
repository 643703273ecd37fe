"""How the hub of `tests.services.hub` answers one HTTP request."""

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from registry import git
from tests.services.hub import Commit, Entry, Hub, Repo, Seen

CHUNK = 1 << 20
PAGE = b"<!DOCTYPE html><html><body>Please sign in to continue</body></html>"
API = re.compile(
    r"/api/models/(?P<repo>[^/]+/[^/]+?)(?:/(?P<on>revision|tree|refs|commits)(?:/(?P<rev>[^/]+))?(?:/(?P<path>.+))?)?$"
)
RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)$")
CDN = re.compile(r"/cdn/(?P<repo>[^/]+/[^/]+)/(?P<rev>[^/]+)/(?P<path>.+)$")


class QuietServer(ThreadingHTTPServer):
    """A client that was killed is no news."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def serve_on(hub: Hub, port: int) -> ThreadingHTTPServer:
    """A server for this hub that already answers on 127.0.0.1."""
    handler = type("Handler", (Requests,), {"hub": hub})
    server = QuietServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


class Requests(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    about_limit: dict[str, str] = {}

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        on, match, answer = self._route(parts.path)
        names = {key: unquote(value) for key, value in match.groupdict().items() if value} if match else {}
        path = names.get("path", "")
        port = self.server.server_address[1]
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.hub.note(Seen(self.command, on, path, self.path, port, headers))
        self.hub.answering.wait()
        is_allowed, self.about_limit = self.hub.count()
        try:
            if not is_allowed:
                self._fail(429)
            elif fault := self.hub.strikes("status", path, on):
                self._fail(fault["status"], fault.get("error_code", ""), retry_after=fault.get("retry_after"))
            elif self.hub.strikes("not-json", path, on):
                self._send(200, PAGE, {"Content-Type": "text/html"})
            else:
                answer(**{key: value for key, value in names.items() if key != "on"})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def end_headers(self) -> None:
        for name, value in self.about_limit.items():
            self.send_header(name, value)
        super().end_headers()

    def _route(self, path: str) -> tuple[str, re.Match[str] | None, Callable[..., None]]:
        if match := CDN.match(path):
            return "cdn", match, self._bytes
        if match := API.match(path):
            kind = {None: "info", "revision": "info"}.get(match["on"], match["on"])
            return kind, match, getattr(self, f"_{kind}")
        if match := RESOLVE.match(path):
            return "resolve", match, self._resolve
        return "other", None, lambda: self._fail(404)

    # --- answers ---------------------------------------------------------------------------------------

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, shape: object, **headers: str) -> None:
        self._send(200, json.dumps(shape).encode(), {"Content-Type": "application/json", **headers})

    def _fail(self, status: int, code: str = "", *, commit: str = "", retry_after: object = None) -> None:
        headers = {"Content-Type": "application/json"}
        headers |= {"X-Error-Code": code, "X-Error-Message": code} if code else {}
        headers |= {"X-Repo-Commit": commit} if commit else {}
        headers |= {"Retry-After": str(retry_after)} if retry_after is not None else {}
        self._send(status, json.dumps({"error": code or f"status {status}"}).encode(), headers)

    def _find(self, repo_id: str, revision: str | None) -> tuple[Repo, Commit] | None:
        """The repo and commit asked for, or None after a truthful error was sent."""
        repo = self.hub.repos.get(repo_id)
        authorized = not self.hub.token or self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if repo is None or not authorized:
            self._fail(404 if self.headers.get("Authorization") and authorized else 401, "RepoNotFound")
            return None
        commit = repo.find(revision or "main")
        if commit is None:
            self._fail(404, "RevisionNotFound")
            return None
        return repo, commit

    def _info(self, repo: str, rev: str | None = None) -> None:
        if not (found := self._find(repo, rev)):
            return
        about, commit = found
        siblings = [{"rfilename": path} for path in commit.files]
        date = commit.date.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self._json({
            "_id": about.object_id or _object_id(repo), "id": repo, "modelId": repo, "sha": commit.id,
            "lastModified": date,
            "createdAt": date, "private": bool(self.hub.token), "gated": about.gated, "disabled": False, "tags": [],
            "downloads": 0, "likes": 0, "author": about.author or repo.split("/", maxsplit=1)[0],
            "siblings": siblings, "spaces": [],
            "cardData": about.card, "xetEnabled": self.hub.xet,
        })  # fmt: skip
        if move := self.hub.strikes("move", on="info"):
            about.branches[move.get("branch", "main")] = move["to"]

    def _refs(self, repo: str) -> None:
        if not (found := self._find(repo, None)):
            return

        def shape(kind: str, refs: dict[str, str]) -> list[dict[str, str]]:
            return [
                {"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": commit} for n, commit in refs.items()
            ]

        branches, tags = shape("heads", found[0].branches), shape("tags", found[0].tags)
        self._json({"branches": branches, "tags": tags, "converts": []})

    def _commits(self, repo: str, rev: str | None = None) -> None:
        if not (found := self._find(repo, rev)):
            return
        history, commit = [], found[1]
        while commit:
            date = commit.date.strftime("%Y-%m-%dT%H:%M:%S.000Z")
            one = {
                "id": commit.id,
                "title": commit.title,
                "message": "",
                "authors": [{"user": "ada"}],
                "date": date,
            }
            history.append(one)
            commit = found[0].commits[commit.parents[0]] if commit.parents else None  # type: ignore[assignment]
        self._json(history[: int(self.query.get("limit", "50"))])

    def _tree(self, repo: str, rev: str | None = None, path: str = "") -> None:
        if not (found := self._find(repo, rev)):
            return
        entries = [self._listed(entry) for entry in found[1].files.values()]
        if extra := self.hub.strikes("list-path", on="tree"):
            body = b"surprise"
            oid = git.git_blob_oid(body)
            entries.append({"type": "file", "oid": oid, "size": len(body), "path": extra["to"]})
        folders = git.folder_oids({path: entry.git_oid for path, entry in found[1].files.items()})
        entries += [
            {"type": "directory", "oid": oid, "size": 0, "path": folder}
            for folder, oid in folders.items()
            if folder
        ]
        start, loop = int(self.query.get("cursor", "0")), self.hub.strikes("list-loop", on="tree")
        end = start if loop else start + self.hub.page_size
        here = f"{self.hub.url_of_next_page or self.hub.url}{self.path.split('?')[0]}?recursive=true&cursor={end}"
        more = {"Link": f'<{here}>; rel="next"'} if loop or end < len(entries) else {}
        self._json(entries[start : max(end, start + 1)], **more)

    def _listed(self, entry: Entry) -> dict[str, Any]:
        by = (self.hub.strikes("list-size", entry.path, "tree") or {"by": 0})["by"]
        sha256 = "f" * 64 if self.hub.strikes("list-sha256", entry.path, "tree") else entry.sha256
        oid = "e" * 40 if self.hub.strikes("list-oid", entry.path, "tree") else entry.git_oid
        size = entry.size + by
        shape: dict[str, Any] = {"type": "file", "oid": oid, "size": size, "path": entry.path}
        if entry.is_lfs:
            pointer = len(git.lfs_pointer(entry.sha256, entry.size))
            shape["lfs"] = {"oid": sha256, "size": size, "pointerSize": pointer}
            shape |= {"xetHash": entry.sha256} if self.hub.xet else {}
        return shape

    # --- bytes -----------------------------------------------------------------------------------------

    def _resolve(self, repo: str, rev: str, path: str) -> None:
        if not (found := self._find(repo, rev)):
            return
        entry = found[1].files.get(path)
        if entry is None:
            self._fail(404, "EntryNotFound", commit=found[1].id)
            return
        if away := self.hub.strikes("redirect", path):
            self._send(302, b"", {"Location": away["to"], "X-Repo-Commit": found[1].id})
        elif self.command == "GET" and entry.is_lfs and self.hub.cdn_address:
            target = f"http://{self.hub.cdn_address}/cdn/{repo}/{found[1].id}/{path}?signature=1"
            headers = {
                "Location": target,
                "X-Linked-Size": str(entry.size),
                "X-Linked-Etag": f'"{entry.etag}"',
            }
            self._send(302, b"", {**headers, "X-Repo-Commit": found[1].id})
        else:
            self._file(found[1], entry)

    def _bytes(self, repo: str, rev: str, path: str) -> None:
        commit = self.hub.repos[repo].commits[rev]
        self._file(commit, commit.files[path])

    def _file(self, commit: Commit, entry: Entry) -> None:
        if self.hub.strikes("html", entry.path):
            self._send(200, PAGE, {"Content-Type": "text/html; charset=utf-8"})
        elif self.hub.strikes("pointer", entry.path):
            self._send(200, git.lfs_pointer(entry.sha256, entry.size), {"Content-Type": "text/plain"})
        else:
            self._range(commit, entry)

    def _range(self, commit: Commit, entry: Entry) -> None:
        size = entry.size
        if fault := self.hub.strikes("truncate", entry.path):
            size = fault["at"]
        start, end, status = 0, size, 200
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted and not self.hub.strikes("ignore-range", entry.path):
            start = int(wanted[1]) if wanted[1] else max(0, size - int(wanted[2]))
            end = min(size, int(wanted[2]) + 1) if wanted[1] and wanted[2] else size
            status = 206
            if start >= size:
                self._send(416, b"", {"Content-Range": f"bytes */{size}"})
                return
            if self.hub.strikes("wrong-206", entry.path):
                start = max(0, start - 7)
        headers = {
            "Content-Length": str(end - start), "ETag": f'"{entry.etag}"', "Accept-Ranges": "bytes",
            "X-Repo-Commit": commit.id, "X-Linked-Etag": f'"{entry.etag}"', "X-Linked-Size": str(entry.size),
            "Content-Type": "application/octet-stream",
        }  # fmt: skip
        headers |= {"X-Xet-Hash": entry.sha256} if self.hub.xet else {}
        headers |= {"Content-Range": f"bytes {start}-{end - 1}/{size}"} if status == 206 else {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._body(entry, start, end)

    def _body(self, entry: Entry, start: int, end: int) -> None:
        cut, stall = self.hub.strikes("cut", entry.path), self.hub.strikes("stall", entry.path)
        if fault := cut or stall:
            end = min(end, start + fault["at"])
        self._copy(entry, start, end)
        if stall:
            self.wfile.flush()
            self.hub.stopping.wait(stall.get("seconds", 60))
        if cut or stall:
            self.close_connection = True

    def _copy(self, entry: Entry, start: int, end: int) -> None:
        slow, corrupt = self.hub.strikes("slow", entry.path), self.hub.strikes("corrupt", entry.path)
        if isinstance(entry.content, Path) and not slow and not corrupt:
            with entry.content.open("rb") as opened:
                self.connection.sendfile(opened, start, end - start) if end > start else None
            return
        step = max(1, slow["rate"] // 20) if slow else CHUNK
        for position in range(start, end, step):
            piece = bytearray(self._read(entry, position, min(step, end - position)))
            if corrupt and position <= corrupt["at"] < position + len(piece):
                piece[corrupt["at"] - position] ^= 1
            self.wfile.write(piece)
            self.hub.note_sent(entry.path, len(piece))
            if slow:
                time.sleep(0.05)

    def _read(self, entry: Entry, position: int, length: int) -> bytes:
        if isinstance(entry.content, bytes):
            return entry.content[position : position + length]
        with entry.content.open("rb") as opened:
            opened.seek(position)
            return opened.read(length)


def _object_id(repo_id: str) -> str:
    """The hub's own id of a repo, which stays when its commits change."""
    return hashlib.sha256(repo_id.encode()).hexdigest()[:24]
