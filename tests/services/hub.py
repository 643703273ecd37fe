"""A Hub-compatible upstream on loopback: it tells the truth with real git ids, or lies exactly as it is told.

    with Hub() as hub:                                   # a threaded HTTP server; hub.url, hub.address
        commit = hub.add("org/model", folder_or_dict)    # a true commit on "main"; again: its successor
        hub.tag("org/model", "v1", commit)
        hub.fault("cut", path="*.safetensors", at=1000, times=2)
        ...
        assert len(hub.seen("resolve", "model.safetensors")) == 3

Files are given as {path: bytes | Path} or as a folder. A Path is served by sendfile, so a sparse file is a cheap
way to many gigabytes. `Hub(cdn=True)` redirects a GET of an LFS file to a second port, as the public hub does;
`xet=True` advertises Xet data that is not there; `token="…"` hides every repo from those who do not send it;
`hub.limit = Limit(10, seconds=1)` answers 429 to the eleventh request of a second.
`python -m tests.services.hub FOLDER` serves FOLDER/org/name as a process of its own and prints its URL.

Faults, each `fault(kind, path="*", times=None, **how)`; `times=None` means always, `after=N` spares the first N:

    cut           the connection ends after `at` bytes of the body
    stall         the same, but the connection stays open (for `seconds`, default 60)
    slow          at most `rate` bytes a second
    corrupt       the byte at offset `at` is flipped
    truncate      a file of only `at` bytes, with an honest Content-Length
    html          200 and a web page instead of the file
    pointer       200 and the LFS pointer instead of the bytes
    ignore-range  200 and the whole file although a range was asked for
    wrong-206     a range that starts 7 bytes too early
    redirect      302 to `to`
    status        `status`, with `retry_after`, `error_code`, on `on`: info, tree, refs, commits, resolve (default), cdn
    not-json      `on` answers a web page
    list-size     the listing is `by` bytes off
    list-sha256   another sha256 in the listing
    list-oid      another git oid in the listing
    list-path     the listing has an entry named `to` as well
    list-loop     each page of the listing names itself as the next
    move          `branch` (main) is at commit `to` once it was resolved
"""

import fnmatch
import hashlib
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from registry import git

Content = bytes | Path
LFS_SUFFIXES = frozenset({".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx", ".model", ".npz", ".zip"})
LFS_ABOVE_BYTES = 10_000_000
FIRST_DAY = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One file of one commit, with its true digests."""

    path: str
    content: Content
    size: int
    git_oid: str
    sha256: str
    is_lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.git_oid


@dataclass(frozen=True)
class Commit:
    id: str
    title: str
    date: datetime
    parents: tuple[str, ...]
    files: dict[str, Entry]


@dataclass
class Repo:
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    gated: bool | str = False
    object_id: str = ""  # the hub's own id of the repo, and its owner, if not those that follow from the name
    author: str = ""

    def find(self, revision: str) -> Commit | None:
        commit_id = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(commit_id)


@dataclass
class Limit:
    """So many requests in each window of so many seconds; where `is_announced`, RateLimit headers say what is left."""

    n_requests: int
    seconds: float
    is_announced: bool = False
    n_allowed: int = 0
    n_refused: int = 0
    _left: int = 0
    _until: float = 0.0

    def take(self) -> tuple[bool, int, float]:
        """Whether this request is answered, how many more would be, and when the next window begins."""
        now = time.monotonic()
        if now >= self._until:
            self._left, self._until = self.n_requests, now + self.seconds
        is_allowed = self._left > 0
        self._left -= is_allowed
        self.n_allowed += is_allowed
        self.n_refused += not is_allowed
        return is_allowed, self._left, self._until - now


@dataclass
class Fault:
    kind: str
    path: str
    times: int | None
    after: int
    how: dict[str, Any]

    def _usual(self, on: str) -> str:
        return "resolve" if self.kind == "status" else on

    def take(self, kind: str, path: str, on: str) -> bool:
        """True if this fault strikes now; it is used up by that."""
        if (
            kind != self.kind
            or not fnmatch.fnmatch(path, self.path)
            or on != self.how.get("on", self._usual(on))
        ):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return self.times is None or self.times >= 0


@dataclass(frozen=True)
class Seen:
    """One request that arrived: `on` is info, tree, refs, commits, resolve or other."""

    method: str
    on: str
    path: str
    target: str
    port: int
    headers: dict[str, str]


class Hub:
    """A running hub. Every method may be called while requests are being served."""

    def __init__(
        self, *, token: str = "", cdn: bool = False, xet: bool = False, page_size: int = 1000, port: int = 0
    ) -> None:
        self.token, self.xet, self.page_size = token, xet, page_size
        self.repos: dict[str, Repo] = {}
        self.requests: list[Seen] = []
        self.sent: Counter[str] = Counter()  # bytes of each path that went out, sendfile aside
        self.limit: Limit | None = None
        self.url_of_next_page = ""  # pages of a listing are said to go on at this other place
        self.stopping, self.answering = threading.Event(), threading.Event()
        self.answering.set()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._servers = [self._listen(port)] + ([self._listen(0)] if cdn else [])

    def _listen(self, port: int) -> ThreadingHTTPServer:
        from tests.services.hub_requests import serve_on

        return serve_on(self, port)

    @property
    def port(self) -> int:
        return self._servers[0].server_address[1]

    @property
    def address(self) -> str:
        """host:port, as HOLDFAST_UPSTREAM_ALLOW wants it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def cdn_address(self) -> str | None:
        return f"127.0.0.1:{self._servers[1].server_address[1]}" if len(self._servers) > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Nothing listens any more; a stalled response ends."""
        self.stopping.set()
        self.answering.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Requests arrive and are noted, but nothing is answered before the block ends."""
        self.answering.clear()
        try:
            yield
        finally:
            self.answering.set()

    # --- what is served --------------------------------------------------------------------------------

    def add(
        self, repo_id: str, files: Path | Mapping[str, Content], *, branch: str = "main", title: str = "Add files",
        card: Mapping[str, Any] | None = None,
    ) -> str:  # fmt: skip
        """Commits these files (all of the new commit, not a change to it) and moves the branch; gives the id."""
        entries = {path: entry_of(path, content) for path, content in sorted(_walk(files))}
        with self._lock:
            repo = self.repos.setdefault(repo_id, Repo(card=dict(card or {})))
            parents = (repo.branches[branch],) if branch in repo.branches else ()
            date = FIRST_DAY + timedelta(days=len(repo.commits))
            who = git.Signature("Ada", "ada@example.org", date)
            tree = git.tree_oid({path: entry.git_oid for path, entry in entries.items()})
            commit = Commit(
                git.commit_oid(tree, parents=parents, author=who, message=title),
                title,
                date,
                parents,
                entries,
            )
            repo.commits[commit.id] = commit
            repo.branches[branch] = commit.id
        return commit.id

    def tag(self, repo_id: str, name: str, commit_id: str) -> None:
        self.repos[repo_id].tags[name] = commit_id

    # --- lies ------------------------------------------------------------------------------------------

    def fault(
        self, kind: str, *, path: str = "*", times: int | None = None, after: int = 0, **how: Any
    ) -> None:
        """From now on the hub misbehaves in this way; see the table at the top."""
        self._faults.append(Fault(kind, path, times, after, how))

    def heal(self) -> None:
        """No fault is left."""
        self._faults.clear()

    def strikes(self, kind: str, path: str = "*", on: str = "resolve") -> dict[str, Any] | None:
        """How the fault of this kind strikes now, or None."""
        with self._lock:
            struck = next((fault for fault in self._faults if fault.take(kind, path, on)), None)
            return {"kind": kind, **struck.how} if struck else None

    def count(self) -> tuple[bool, dict[str, str]]:
        """Whether one more request keeps within the limit, and what to say about that."""
        with self._lock:
            if self.limit is None:
                return True, {}
            is_allowed, left, seconds = self.limit.take()
            told = {"RateLimit": f'"api";r={left};t={math.ceil(seconds)}'} if self.limit.is_announced else {}
            return is_allowed, told | ({} if is_allowed else {"Retry-After": str(math.ceil(seconds))})

    # --- what arrived ----------------------------------------------------------------------------------

    def note(self, seen: Seen) -> None:
        with self._lock:
            self.requests.append(seen)

    def note_sent(self, path: str, n_bytes: int) -> None:
        with self._lock:
            self.sent[path] += n_bytes

    def seen(self, on: str, path: str = "*", method: str = "GET") -> list[Seen]:
        """The requests of this kind so far, oldest first."""
        with self._lock:
            return [
                one
                for one in self.requests
                if (one.on, one.method) == (on, method) and fnmatch.fnmatch(one.path, path)
            ]


def _walk(files: Path | Mapping[str, Content]) -> Iterator[tuple[str, Content]]:
    if isinstance(files, Path):
        yield from ((item.relative_to(files).as_posix(), item) for item in files.rglob("*") if item.is_file())
    else:
        yield from files.items()


def entry_of(path: str, content: Content) -> Entry:
    """The file with its digests; reads a Path once, in pieces."""
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    sha256, sha1 = hashlib.sha256(), git.start_git_hash("blob", size)
    is_lfs = Path(path).suffix in LFS_SUFFIXES or size > LFS_ABOVE_BYTES
    with ExitStack() as stack:
        pieces: Iterator[bytes] = iter((content,)) if isinstance(content, bytes) else iter(())
        if isinstance(content, Path):
            opened = stack.enter_context(content.open("rb"))
            pieces = iter(lambda: opened.read(1 << 22), b"")
        for piece in pieces:
            sha256.update(piece)
            if not is_lfs:
                sha1.update(piece)
    hexdigest = sha256.hexdigest()
    oid = git.lfs_pointer_oid(hexdigest, size) if is_lfs else sha1.hexdigest()
    return Entry(path, content, size, oid, hexdigest, is_lfs)


def main(root: str, port: str = "0") -> None:
    with Hub(port=int(port)) as hub:
        for folder in sorted(path for path in Path(root).glob("*/*") if path.is_dir()):
            hub.add(folder.relative_to(root).as_posix(), folder)
        sys.stdout.write(hub.url + "\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
