"""What the lines of a commit say, and the changes that they mean.

| key             | value                                        | meaning                                          |
|-----------------|----------------------------------------------|--------------------------------------------------|
| `header`        | `summary`, `description`, `parentCommit`?    | first, once                                      |
| `file`          | `path`, `content` in base64, `encoding`      | these bytes, kept by `.gitattributes` and size   |
| `lfsFile`       | `path`, `algo` sha256, `oid`, `size`?        | an LFS object that was brought, or is copied     |
| `deletedFile`   | `path`                                       | the file goes                                    |
| `deletedFolder` | `path`                                       | everything below it goes                         |
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mirror.blobs.store import BlobStore, Staged, blob_key
from mirror.holding import Stored
from mirror.uploads.lines import BadLine, Line, decode, read_lines
from mirror.uploads.modes import most_inline_bytes
from registry.git import git_blob_oid, start_git_hash

MAX_OPERATIONS = 100_000
MAX_PATH_CHARACTERS = 1024
MAX_PATH_SEGMENT_BYTES = 255
MAX_SUMMARY_CHARACTERS = 500
BLOCK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PARENT = re.compile(r"[0-9a-f]{7,40}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Sent:
    """A file whose bytes came with the commit."""

    path: str
    stored: Stored


@dataclass(frozen=True, slots=True)
class Named:
    """A file whose bytes are an LFS object of that sha256."""

    path: str
    sha256: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Deleted:
    path: str
    is_folder: bool


Operation = Sent | Named | Deleted


@dataclass
class Request:
    """A commit as it was asked for; the bytes of what was sent are in the store, verified and needed by nobody yet."""

    summary: str = ""
    description: str = ""
    parent: str | None = None
    operations: list[Operation] = field(default_factory=list)


def read_request(
    read: Callable[[int], bytes], store: BlobStore, *, on_header: Callable[[Request], None]
) -> Request:
    """The whole body. `on_header` may refuse before anything is stored. Raises BadLine, and StoreError."""
    with _receiving(store) as sinks:
        lines = read_lines(read, sinks.open)
        request = _read_header(next(lines, None))
        on_header(request)
        for line in lines:
            request.operations.append(_read_operation(line, store, sinks))
            if len(request.operations) > MAX_OPERATIONS:
                raise BadLine(f"a commit has at most {MAX_OPERATIONS} operations; make several.", 413)
    return request


def check_path(path: object, where: str) -> str:
    """The path, if git and every client can have a file of that name; else BadLine 422."""
    if not isinstance(path, str) or not path:
        raise BadLine(f"{where}: there is no path.")
    segments = path.split("/")
    wrong = (
        "is too long" if len(path) > MAX_PATH_CHARACTERS
        else "has control characters" if _CONTROL.search(path)
        else "has a backslash" if "\\" in path
        else "has an empty segment, or begins or ends with a slash" if "" in segments
        else "has the segment . or .." if {".", ".."} & set(segments)
        else "has the segment .git" if ".git" in path.lower().split("/")
        else "has a segment that is too long" if _longest(segments) > MAX_PATH_SEGMENT_BYTES
        else ""
    )  # fmt: skip
    if wrong:
        raise BadLine(f"{where}: the path {path[:200]!a} {wrong}, so nothing can be stored there.", 422)
    return path


def _longest(segments: list[str]) -> int:
    return max(len(segment.encode()) for segment in segments)


def _read_header(line: Line | None) -> Request:
    if line is None or line.value.get("key") != "header" or not isinstance(line.value.get("value"), dict):
        raise BadLine('the first line must be {"key": "header", "value": {"summary": …}}.')
    value = line.value["value"]
    summary, description = _text(value, "summary", line), _text(value, "description", line, default="")
    parent = value.get("parentCommit")
    if parent is not None and not (isinstance(parent, str) and _PARENT.fullmatch(parent)):
        raise BadLine("`parentCommit` must be a commit hash of 7 to 40 hex digits.")
    if not summary.strip():
        raise BadLine("`summary` must say what the commit is for.")
    return Request(_clean(summary)[:MAX_SUMMARY_CHARACTERS], _clean(description), parent)


def _read_operation(line: Line, store: BlobStore, sinks: "_Sinks") -> Operation:
    key, value = line.value.get("key"), line.value.get("value")
    if not isinstance(value, dict):
        raise BadLine(f"line {line.number} has no value.")
    if key in ("deletedFile", "deletedFolder"):
        path = _text(value, "path", line)
        is_folder = key == "deletedFolder"
        return Deleted(check_path(path.rstrip("/") if is_folder else path, _where(line)), is_folder)
    path = check_path(value.get("path"), _where(line))
    if key == "lfsFile":
        return _read_named(path, value, line)
    if key == "file":
        return Sent(path, _content(value, line, store, sinks))
    raise BadLine(f"line {line.number}: the key {key!a:.40} means nothing here.")


def _read_named(path: str, value: dict[str, Any], line: Line) -> Named:
    oid, size = value.get("oid"), value.get("size")
    if value.get("algo", "sha256") != "sha256" or not isinstance(oid, str) or not _SHA256.fullmatch(oid):
        raise BadLine(f"{_where(line)}: `oid` must be a sha256 in 64 lower-case hex digits.")
    if size is not None and (type(size) is not int or size < 0):
        raise BadLine(f"{_where(line)}: `size` must be a number of bytes.")
    return Named(path, oid, size)


def _content(value: dict[str, Any], line: Line, store: BlobStore, sinks: "_Sinks") -> Stored:
    content = value.get("content")
    if value.get("encoding", "base64") != "base64" or not isinstance(content, str):
        raise BadLine(f"{_where(line)}: `content` must be a text in base64.")
    if not line.token:
        return _put(store, decode(content, line.number))
    if content != line.token:
        raise BadLine(f"{_where(line)}: a text that is not the content is too long.", 413)
    return sinks.keep()


def _put(store: BlobStore, data: bytes) -> Stored:
    digest = hashlib.sha256(data).hexdigest()
    is_new = store.put(blob_key(digest), data)
    return Stored(digest, len(data), git_blob_oid(data), is_new)


def _text(value: dict[str, Any], name: str, line: Line, default: str | None = None) -> str:
    found = value.get(name, default)
    if not isinstance(found, str):
        raise BadLine(f"{_where(line)}: `{name}` must be a text.")
    return found


def _clean(text: str) -> str:
    """Without what neither git nor a database can keep."""
    return text.replace("\0", "").encode(errors="replace").decode()


def _where(line: Line) -> str:
    return f"line {line.number}"


class _Limited:
    """A stage that takes no more than a file inside a commit may have."""

    def __init__(self, staged: Staged) -> None:
        self.staged = staged
        self._room = most_inline_bytes()

    def write(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            raise BadLine(
                f"a file inside a commit has at most {most_inline_bytes()} bytes. Ask `preupload` how to send it.",
                413,
            )
        self.staged.write(data)


class _Sinks:
    """The long contents of a body: one is under way at a time."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._staged: Staged | None = None

    def open(self) -> _Limited:
        self.discard()
        self._staged = self._store.stage(f"commit-{secrets.token_hex(12)}")
        return _Limited(self._staged)

    def keep(self) -> Stored:
        """What was staged is a blob now."""
        staged = self._staged
        assert staged is not None  # noqa: S101  # a line with a token has opened it
        digests = staged.finish()
        key = blob_key(digests.sha256)
        is_new = self._store.promote(staged, key, sha256=digests.sha256, size_bytes=digests.size_bytes)
        self._staged = None
        oid = _stored_git_oid(self._store, key, digests.size_bytes)
        return Stored(digests.sha256, digests.size_bytes, oid, is_new)

    def discard(self) -> None:
        if self._staged is not None:
            self._staged.discard()
            self._staged = None


def _stored_git_oid(store: BlobStore, key: str, size_bytes: int) -> str:
    """Git hashes the size before the bytes, and base64 does not say it beforehand: so they are read once more."""
    digest = start_git_hash("blob", size_bytes)
    with store.open(key) as reader:
        while data := reader.read(BLOCK_BYTES):
            digest.update(data)
    return digest.hexdigest()


@contextmanager
def _receiving(store: BlobStore) -> Iterator[_Sinks]:
    """Whatever happens, no stage is left open."""
    sinks = _Sinks(store)
    try:
        yield sinks
    finally:
        sinks.discard()
