"""Bodies that are too large for memory, read in blocks; and where clients send the bytes of LFS objects."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.blobs import BlobStore
from mirror.blobs.store import (
    DigestMismatch,
    OutOfSpace,
    Staged,
    StagedBusy,
    StagedIncomplete,
    StagedPart,
)
from mirror.hub.doors import door
from mirror.hub.errors import HubError, bad_request
from mirror.store import blob_store
from mirror.uploads.addresses import END, WHOLE, Address
from mirror.uploads.objects import keep, stage_name
from mirror.uploads.verifying import ObjectRefused, StillVerifying, parts_of, request_verification
from registry.access import Somebody
from registry.models import Repo, Upload

logger = logging.getLogger(__name__)

RETRY_SECONDS = "5"

BLOCK_BYTES = 1 << 20
DRAIN_BYTES = 256 << 20
"""Of a refused body that is read all the same: a client that still writes would see a broken pipe, and no reason."""
FULL = "this registry's disk is full: nothing was stored, and nothing is lost. Its operator has to make room."


class Body:
    """What is left of a body, with an end."""

    def __init__(self, request: HttpRequest, most_bytes: int = 0) -> None:
        self._request, self._most = request, most_bytes
        self._n_read = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end. Raises HubError when the client left, or sends too much."""
        try:
            data = self._request.read(size)
        except OSError as error:  # Django's UnreadablePostError: the client left
            raise bad_request(f"the body ended early ({error}). Send it again.") from None
        self._n_read += len(data)
        if self._most and self._n_read > self._most:
            raise HubError(413, f"a body here has at most {self._most} bytes.")
        return data

    def blocks(self, size_bytes: int) -> Iterator[bytes]:
        """Exactly that many bytes. Raises HubError when there are fewer."""
        left = size_bytes
        while left:
            data = self.read(min(left, BLOCK_BYTES))
            if not data:
                raise bad_request(
                    f"the body ended after {size_bytes - left} of {size_bytes} bytes. Send it again."
                )
            left -= len(data)
            yield data

    def drain(self) -> None:
        """What is left is read and dropped, up to a limit."""
        left = DRAIN_BYTES
        with suppress(OSError):
            while left > 0 and (data := self._request.read(min(left, BLOCK_BYTES))):
                left -= len(data)


@door("PUT", "POST")
def receive(request: HttpRequest, user: Somebody, *, signed: str) -> HttpResponse:
    """PUT: the bytes of an object, or of one part. POST: all parts were sent. The URL itself is the permission."""
    address = Address.read(signed)
    uploads = Upload.objects.filter(pk=address.upload if address else 0).select_related("repo")
    upload = uploads.first()
    if address is None or upload is None:
        raise HubError(403, "This address has run out, or is not one that we gave. Ask for a new one.")
    if (request.method == "POST") != (address.part == END):
        raise HubError(405, f"{request.method} is not what this address is for.")
    body = Body(request)
    try:
        with refusals(upload.repo):
            if address.part == END:
                return _end(upload)
            if upload.blob_id is None:
                _take(request, body, upload, address)
    finally:
        body.drain()
    return HttpResponse(headers={"ETag": f'"{upload.sha256[:16]}-{address.part}"'})


def _take(request: HttpRequest, body: Body, upload: Upload, address: Address) -> None:
    """The body is staged, and when it is the whole object, verified and kept. Content-Length must be right."""
    part = _part_of(upload, address)
    if request.headers.get("Content-Length") != str(part.size_bytes):
        raise bad_request(f"Content-Length must be {part.size_bytes}: that is what was announced.")
    store = blob_store()
    if address.part != WHOLE:
        store.write_part(stage_name(upload), part, body.blocks(part.size_bytes))
        return
    with _fresh_stage(store, stage_name(upload)) as staged:
        try:
            for block in body.blocks(part.size_bytes):
                staged.write(block)
            keep(store, upload, staged)
        except (HubError, DigestMismatch):
            staged.discard()
            raise


def _fresh_stage(store: BlobStore, name: str) -> Staged:
    """An empty stage. What a try that broke off left is thrown away: the client begins anew, and so do we."""
    staged = store.stage(name)
    if not staged.size_bytes:
        return staged
    staged.discard()
    return store.stage(name)


def _part_of(upload: Upload, address: Address) -> StagedPart:
    if address.part == WHOLE:
        return StagedPart(1, 0, upload.size_bytes)
    parts = parts_of(upload)
    if address.part > len(parts):
        raise HubError(409, "The object was cut anew since this address was given. Ask for a new one.")
    return parts[address.part - 1]


def _end(upload: Upload) -> HttpResponse:
    """The parts are there, as the client says. Hashing begins; `verify` and the commit wait for it."""
    if upload.blob_id is None:
        with blob_store().gather(stage_name(upload), parts_of(upload)):
            pass  # a part that is missing is told at once
        request_verification(upload)
    return JsonResponse({"oid": upload.sha256, "size": upload.size_bytes})


@contextmanager
def refusals(repo: Repo) -> Iterator[None]:
    """What can go wrong with bytes becomes an answer. 4xx: they are wrong; 5xx: send them again later."""
    try:
        yield
    except DigestMismatch as error:
        raise HubError(
            422, f"{error.expected} was announced, {error.actual} was sent; it was thrown away."
        ) from None
    except ObjectRefused as error:
        raise HubError(422, str(error)) from None
    except StagedIncomplete as error:
        raise HubError(400, error.message) from None
    except (StillVerifying, StagedBusy) as error:
        raise HubError(503, str(error), Retry_After=RETRY_SECONDS) from None
    except OutOfSpace as error:
        logger.error("upload to %s: %s", repo.repo_id, error)
        raise HubError(507, f"{repo.repo_id}: {FULL}") from None
