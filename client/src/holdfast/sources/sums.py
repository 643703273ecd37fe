"""A plain tree of files with a `SHA256SUMS`, in a folder or on a web server.

    <root>/org/name/SHA256SUMS          as `sha256sum` writes it
    <root>/org/name/<path>              the files it lists

A root that is called `name` or `org/name` may hold that one repo directly. There is one commit, which `main` names: the
first 40 hex digits of the sha256 over the sorted lines `<sha256>  <path>\\n`, so that equal files have equal commits
wherever they lie and in whichever order they are listed.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import AbstractContextManager
from functools import partial as bind

from holdfast.errors import BadAnswer, NotFound, RepoNotFound
from holdfast.fetching.workers import worker_threads
from holdfast.network.patience import with_patience
from holdfast.network.transport import Answer
from holdfast.network.urls import show_url
from holdfast.paths import check_path
from holdfast.reference import DEFAULT_REVISION
from holdfast.sources.hub import MAX_FILE_BYTES
from holdfast.sources.remote import RemoteFile, VariantAnswer
from holdfast.sources.source import OpenRange
from holdfast.sources.stores import Store
from holdfast.text import printable

SUMS = "SHA256SUMS"
MAX_FILES = 20_000  # each costs a request for its size
SIZE_THREADS = 8
EMPTY = hashlib.sha256(b"").hexdigest()
_LINE = re.compile(r"^(\\?)([0-9a-fA-F]{64}) [ *](.+)$", re.DOTALL)
_TAGGED = re.compile(r"^(\\?)SHA256 \((.+)\) = ([0-9a-fA-F]{64})$", re.DOTALL)
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}
_TOTAL = re.compile(r"^bytes \d+-\d+/(\d+)$")


def parse_sums(text: bytes, *, listed_by: str) -> dict[str, str]:
    """The sha256 by path. Raises BadAnswer for what `sha256sum` cannot have written, UnsafePath for a bad name."""
    sums: dict[str, str] = {}
    for line in _lines(text, listed_by):
        if not line or line.startswith("#"):
            continue
        path, sha256 = _entry(line, listed_by)
        if path in sums:
            raise BadAnswer(f"{printable(path)} comes twice in {SUMS} of {listed_by}", path=path)
        sums[path] = sha256
        if len(sums) > MAX_FILES:
            raise BadAnswer(f"{SUMS} of {listed_by} lists more than {MAX_FILES} files")
    return sums


def _lines(text: bytes, listed_by: str) -> list[str]:
    try:
        return text.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise BadAnswer(f"{SUMS} of {listed_by} is not UTF-8") from error


def _entry(line: str, listed_by: str) -> tuple[str, str]:
    if plain := _LINE.match(line):
        escaped, sha256, path = plain.groups()
    elif tagged := _TAGGED.match(line):
        escaped, path, sha256 = tagged.groups()
    else:
        raise BadAnswer(
            f"{SUMS} of {listed_by} has a line that is none of sha256sum: {printable(line[:80])!r}",
            hint="It is written by: find . -type f ! -name SHA256SUMS -exec sha256sum {} + > SHA256SUMS",
        )
    if escaped:
        path = re.sub(r"\\[\\nr]", lambda found: _ESCAPES[found.group()], path)
    return check_path(path[2:] if path.startswith("./") else path, listed_by=listed_by), sha256.lower()


def commit_of(sums: dict[str, str]) -> str:
    """What stands for the commit: 40 hex digits that say the same of the same files."""
    text = "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(sums.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


class SumsTree:
    """A store whose repos are folders with a SHA256SUMS. Reads each SHA256SUMS once."""

    def __init__(self, store: Store, *, retries: int) -> None:
        self.index_url = store.url
        self._store = store
        self._retries = retries
        self._read: dict[str, tuple[str, dict[str, str]]] = {}

    def resolve(self, repo_id: str, revision: str) -> str:
        commit = commit_of(self._sums(repo_id)[1])
        if revision not in (DEFAULT_REVISION, commit):
            raise NotFound(
                f"no such revision: {repo_id}@{printable(revision)}",
                hint=f"{show_url(self.index_url)} holds plain files, which are commit {commit} and nothing else.",
                repo_id=repo_id,
                revision=revision,
            )
        return commit

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        self.resolve(repo_id, commit)
        folder, sums = self._sums(repo_id)
        with worker_threads(SIZE_THREADS, "size") as pool:
            sizes = list(pool.map(lambda path: self._size(f"{folder}{path}", sums[path]), sums))
        files = [RemoteFile(path, size, None, sums[path]) for path, size in zip(sums, sizes)]
        return sorted(files, key=lambda file: file.path)

    def resolve_variant(self, repo_id: str, revision: str, variant: str) -> VariantAnswer | None:
        return None

    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> AbstractContextManager[Answer]:
        return self._store.open(f"{self._sums(repo_id)[0]}{path}", start, end)

    def find(self, repo_id: str | None, commit: str, file: RemoteFile) -> OpenRange | None:
        """By sha256, whatever the commit is called here."""
        if repo_id is None:
            return None
        try:
            folder, sums = self._sums(repo_id)
        except NotFound:
            return None
        path = next((path for path, sha256 in sums.items() if sha256 == file.known_sha256), None)
        return None if path is None else bind(self._store.open, f"{folder}{path}")

    def _sums(self, repo_id: str) -> tuple[str, dict[str, str]]:
        """The folder of the repo, as the start of its keys, and its digests. Raises RepoNotFound."""
        if repo_id not in self._read:
            self._read[repo_id] = self._find_sums(repo_id)
        return self._read[repo_id]

    def _find_sums(self, repo_id: str) -> tuple[str, dict[str, str]]:
        for folder in self._folders(repo_id):
            try:
                text = self._store.read(f"{folder}{SUMS}")
            except NotFound:
                continue
            return folder, parse_sums(text, listed_by=f"{show_url(self.index_url)}/{folder}".rstrip("/"))
        raise RepoNotFound(
            f"no such repo: {repo_id}: {show_url(self.index_url)} has no {repo_id}/{SUMS}",
            hint="Check the spelling, and that the folder of the repo holds a SHA256SUMS.",
            repo_id=repo_id,
        )

    def _folders(self, repo_id: str) -> list[str]:
        end_of_root = "/".join(self.index_url.rstrip("/").split("/")[-2:])
        is_root = end_of_root == repo_id or end_of_root.endswith(f"/{repo_id.rpartition('/')[2]}")
        return [f"{repo_id}/", ""] if is_root else [f"{repo_id}/"]

    def _size(self, key: str, sha256: str) -> int:
        """Asked for with a range of one byte. No byte can be asked of an empty file, whose digest says enough."""
        return 0 if sha256 == EMPTY else with_patience(self._retries, lambda: self._ask_size(key))

    def _ask_size(self, key: str) -> int:
        with self._store.open(key, 0, 1) as answer:
            total = _TOTAL.match(answer.headers.get("Content-Range", ""))
            text = total.group(1) if total else answer.headers.get("Content-Length", "")
        if not text.isdecimal() or int(text) > MAX_FILE_BYTES or (answer.status == 206 and not total):
            raise BadAnswer(f"{show_url(answer.url)} does not tell how large it is", url=answer.url)
        return int(text)
