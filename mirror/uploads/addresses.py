"""Where a client sends the bytes of an LFS object: the store's own URLs, or ours, signed and good for a day.

Clients send neither token nor content type to these URLs: whoever has one may use it, for that object and part only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.core import signing

from mirror.blobs import BlobStore
from mirror.blobs.store import StagedPart
from mirror.uploads.objects import stage_name
from registry.models import Upload

SALT = "holdfast.upload"
SECONDS = 24 * 3600
MAX_PARTS = 9000
"""S3 allows 10,000."""
PREFIX = "/api/holdfast/v1/uploads/"


@dataclass(frozen=True)
class Address:
    """What a signed URL of ours stands for. Part 0 is the whole object, -1 the end of one that came in parts."""

    upload: int
    part: int

    @property
    def path(self) -> str:
        return PREFIX + signing.dumps([self.upload, self.part], salt=SALT)

    @classmethod
    def read(cls, text: str) -> "Address | None":
        """The address, if we signed it and it has not run out."""
        try:
            upload, part = signing.loads(text, salt=SALT, max_age=SECONDS)
        except signing.BadSignature:
            return None
        return cls(upload, part)


WHOLE, END = 0, -1


def part_bytes_for(size_bytes: int) -> int:
    """How large the parts of an object are: as set, and so many that any store takes them."""
    return max(int(settings.HOLDFAST_UPLOAD_PART_BYTES), -(-size_bytes // MAX_PARTS))


def address_of(store: BlobStore, upload: Upload, part: StagedPart, *, is_whole: bool) -> str:
    """Where that part goes: a URL of the store, or the path of one of ours."""
    if settings.HOLDFAST_BLOB_DELIVERY in ("auto", "redirect"):
        url = store.presign_part(stage_name(upload), part, seconds=SECONDS)
        if url is not None:
            return url
    return Address(upload.pk, WHOLE if is_whole else part.number).path


def headers_of(store: BlobStore, upload: Upload, parts: Sequence[StagedPart], root: str) -> dict[str, str]:
    """The `header` that makes the hub's clients send parts: their size, and a URL for each."""
    urls = {
        str(part.number): absolute(address_of(store, upload, part, is_whole=False), root) for part in parts
    }
    return {"chunk_size": str(parts[0].size_bytes)} | urls


def absolute(address: str, root: str) -> str:
    """On the host that was asked."""
    return root + address if address.startswith("/") else address
