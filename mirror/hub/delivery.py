"""How the bytes of a file leave: by sendfile, by redirect, by the front server, or streamed through us.

| HOLDFAST_BLOB_DELIVERY | a GET is answered with                                                             |
|------------------------|------------------------------------------------------------------------------------|
| `auto`                 | a redirect where the store has URLs of its own (S3), else the bytes                |
| `inline`               | the bytes: sendfile from a directory, 1 MiB blocks from any other store            |
| `redirect`             | 302 to a presigned URL; the bytes where the store has none                         |
| `xaccel`               | X-Accel-Redirect to `/_blobs/<key>`, sent by nginx from the store's directory;     |
|                        | the bytes from any other store                                                     |

For `xaccel` nginx, which drops most headers of the answer it replaces, needs:

    location /_blobs/ {
        internal; alias /path/of/the/store/; etag off;
        add_header ETag $upstream_http_etag;
        add_header X-Repo-Commit $upstream_http_x_repo_commit;
        add_header Content-Security-Policy $upstream_http_content_security_policy;
        add_header X-Content-Type-Options nosniff;
    }

HEAD is always answered here with 200 and every header: a presigned URL allows one method only, and clients
differ in whether they follow a redirect with HEAD or with GET. What an author wrote is never active content on our
origin: a few passive types are shown, all else is a download, and everything is sandboxed.
"""

import base64
import io
import logging
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from mirror.blobs.store import KeyMissing, blob_key
from mirror.hub.arriving import follow, is_doubtful
from mirror.hub.errors import HubError, being_rebuilt, bytes_unavailable
from mirror.hub.finding import Place
from mirror.hub.ranges import ByteRange, RangeNotSatisfiable, is_same_version, matches_any, read_range
from mirror.store import blob_store
from registry.evicted import request_rebuild
from registry.models import Blob, File

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
INTERNAL_PREFIX = "/_blobs/"
SANDBOX = "default-src 'none'; sandbox"
YEAR_SECONDS = 365 * 24 * 3600
# Types that cannot do anything in a browser. HTML, SVG, PDF and scripts are not among them.
PASSIVE = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
TEXT = {
    ".md",
    ".txt",
    ".json",
    ".jsonl",
    ".csv",
    ".yaml",
    ".yml",
    ".toml",
    ".py",
    ".jinja",
    ".template",
    ".gitattributes",
}


class BytesResponse(FileResponse):
    """A reader on its way out: gunicorn sends it with sendfile where it can. Headers are set by `send_file`."""

    block_size = BLOCK_BYTES

    def set_headers(self, filelike: object) -> None:
        """Nothing is guessed from a file name."""


class FileRange(io.FileIO):
    """A file that begins at `start` for whoever reads it, or its descriptor, and ends after `length` bytes."""

    def __init__(self, path: Path, start: int, length: int) -> None:
        super().__init__(path, "rb")
        self.seek(start)
        self._end = start + length

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self._end - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left)) or b""


def send_file(request: HttpRequest, place: Place, file: File, *, inline: bool = False) -> HttpResponseBase:
    """The answer to a HEAD or GET of a file: 200, 206, 302, 304 or 416. No query. `inline`: never by redirect.

    A file whose bytes only upstream has is fetched by the first GET, and sent through us while it arrives.
    """
    file.commit, place.commit.repo = place.commit, place.repo
    if file.blob:
        check_available(place, file.blob)
    headers = file_headers(place, file)
    if matches_any(request.headers.get("If-None-Match", ""), headers["ETag"]):
        return HttpResponse(status=304, headers=headers)
    if request.method == "HEAD":
        if file.blob:
            _check_in_store(place, file.blob)
        return HttpResponse(headers=headers | {"Content-Length": str(file.size_bytes)})
    if file.blob is None and (arriving := _send_arriving(request, place, file, headers)):
        return arriving
    if not inline and (elsewhere := _send_elsewhere(place, file, headers)):
        return elsewhere
    return _send_bytes(request, place, file, headers)


def file_headers(place: Place, file: File) -> dict[str, str]:
    """What HEAD and GET say of the file, whatever way its bytes go."""
    name = PurePosixPath(file.path).name
    content_type, disposition = _content_type(name)
    return {
        "ETag": f'"{file.etag}"',
        "X-Repo-Commit": place.commit.commit_hash,
        "X-Linked-Etag": f'"{file.etag}"',
        "X-Linked-Size": str(file.size_bytes),
        "Accept-Ranges": "bytes",
        "Content-Type": content_type,
        "Content-Disposition": f"{disposition}; {_filename(name)}",
        "Content-Security-Policy": SANDBOX,
        "Cache-Control": cache_control(place),
        "Vary": "Authorization, Cookie",
    } | _digest_headers(file.sha256)


def _digest_headers(sha256: str | None) -> dict[str, str]:
    """The digest of the whole file, whatever part is sent: RFC 9530, and RFC 3230 for older programs."""
    if sha256 is None:
        return {}
    value = base64.b64encode(bytes.fromhex(sha256)).decode()
    return {"Repr-Digest": f"sha-256=:{value}:", "Digest": f"sha-256={value}"}


def cache_control(place: Place) -> str:
    """What a commit holds never changes; what a branch names may."""
    audience = "private" if place.repo.private or place.repo.gated else "public"
    lifetime = f"max-age={YEAR_SECONDS}, immutable" if place.is_pinned else "no-cache"
    return f"{audience}, {lifetime}"


def check_available(place: Place, blob: Blob) -> None:
    """Bytes that an audit found damaged or missing are refused, never served and never called absent."""
    if blob.state == Blob.State.EVICTED:
        raise being_rebuilt(place.repo.repo_id, place.commit.commit_hash, place.path, request_rebuild(blob))
    if blob.state != Blob.State.PRESENT:
        raise bytes_unavailable(place.repo.repo_id, place.commit.commit_hash, place.path, blob.state)


def _check_in_store(place: Place, blob: Blob) -> None:
    """Where looking costs one system call, HEAD does not promise what GET cannot give."""
    if blob_store().name == "directory":
        _check_size(place, blob)


def _check_size(place: Place, blob: Blob) -> None:
    stat = blob_store().stat(blob_key(blob.sha256))
    if stat is None or stat.size_bytes != blob.size_bytes:
        raise _lost(place, blob)


def _lost(place: Place, blob: Blob) -> HubError:
    logger.error("blob %s of %s@%s is missing or of another size in the store: run audit",
                 blob.sha256, place.repo.repo_id, place.commit.commit_hash)  # fmt: skip
    return bytes_unavailable(place.repo.repo_id, place.commit.commit_hash, place.path, "missing or damaged")


def _send_elsewhere(place: Place, file: File, headers: dict[str, str]) -> HttpResponse | None:
    """The answer that lets somebody else send the bytes, or None.

    Asks the store first whether it has them: what we send away answers in words of its own, and the 404 of an S3
    service or of nginx would be taken for a file that is not in the commit.
    """
    way, key = settings.HOLDFAST_BLOB_DELIVERY, blob_key(file.held.sha256)
    if way == "xaccel" and blob_store().name == "directory":
        _check_size(place, file.held)
        return HttpResponse(headers=headers | {"X-Accel-Redirect": INTERNAL_PREFIX + key})
    if way not in ("auto", "redirect") or file.size_bytes == 0:
        return None
    name = PurePosixPath(file.path).name
    url = blob_store().presign(key, seconds=settings.HOLDFAST_PRESIGN_SECONDS, filename=name)
    if url is None:
        return None
    _check_size(place, file.held)
    # The address is a secret with an end: no cache may keep it longer than it works.
    return HttpResponse(status=302, headers=headers | {"Location": url, "Cache-Control": "no-store"})


def _send_arriving(
    request: HttpRequest, place: Place, file: File, headers: dict[str, str]
) -> HttpResponseBase | None:
    """The bytes as they come from upstream; None if all of them are here by now: then `file` has its blob."""
    part = _part(request, place, file, headers)
    body = follow(file, part)
    if isinstance(body, Blob):
        file.blob = body
        return None
    headers["Content-Length"] = str(part.length if part else file.size_bytes)
    if part:
        headers["Content-Range"] = str(part)
    return StreamingHttpResponse(body, status=206 if part else 200, headers=headers)


def _part(request: HttpRequest, place: Place, file: File, headers: dict[str, str]) -> ByteRange | None:
    """The range that was asked for; None: the whole file. Raises the answer 416."""
    try:
        part = _wanted(request, file.size_bytes, headers["ETag"])
    except RangeNotSatisfiable:
        message = f"{place.path} has {file.size_bytes} bytes; the range begins beyond its end."
        refusal = HubError(416, message, Content_Range=f"bytes */{file.size_bytes}", Accept_Ranges="bytes")
        raise refusal from None
    return None if part and is_doubtful(file, part) else part


def _send_bytes(request: HttpRequest, place: Place, file: File, headers: dict[str, str]) -> HttpResponseBase:
    part = _part(request, place, file, headers)
    reader = open_reader(place, file.held, part or ByteRange(0, file.size_bytes, file.size_bytes))
    headers["Content-Length"] = str(part.length if part else file.size_bytes)
    if part:
        headers["Content-Range"] = str(part)
    return BytesResponse(reader, status=206 if part else 200, headers=headers)


def _wanted(request: HttpRequest, size_bytes: int, etag: str) -> ByteRange | None:
    asked = request.headers.get("Range", "")
    if not asked or not is_same_version(request.headers.get("If-Range", ""), etag):
        return None
    return read_range(asked, size_bytes)


def open_reader(place: Place, blob: Blob, part: ByteRange) -> io.IOBase:
    """A reader of that range which knows its file descriptor if the store has plain files."""
    store, key = blob_store(), blob_key(blob.sha256)
    try:
        if path := store.local_path(key):
            _check_size(place, blob)
            return FileRange(path, part.start, part.length)
        return store.open(key, part.start, part.length)  # type: ignore[return-value]  # a BinaryIO is an IOBase
    except (KeyMissing, FileNotFoundError):
        raise _lost(place, blob) from None


def _content_type(name: str) -> tuple[str, str]:
    suffix = PurePosixPath(name).suffix.lower() or name.lower()
    if suffix in PASSIVE:
        return PASSIVE[suffix], "inline"
    if suffix in TEXT or name in ("LICENSE", "NOTICE", "README"):
        return "text/plain; charset=utf-8", "inline"
    return "application/octet-stream", "attachment"


def _filename(name: str) -> str:
    """RFC 6266: an ASCII name for old clients, the true one for all others."""
    plain = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-+ ") else "_" for letter in name
    )
    return f"filename*=UTF-8''{quote(name, safe='')}; filename=\"{plain}\""
