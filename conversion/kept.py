"""What test inference keeps in the blob store: readings of parents, and the reports themselves.

A parent is read once by each engine build and never run again for its next child. A report is kept as canonical JSON,
so that its sha256 names it for ever.
"""

import hashlib

from django.db import transaction
from django.utils import timezone

from conversion.formats.errors import HeaderError
from conversion.inference.readings import Reading
from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from mirror.blobs.store import KeyMissing
from registry.models import Blob, Commit
from registry.models import Reading as ReadingRow
from registry.work import Lease


def stored_reading(store: BlobStore, key: str) -> Reading | None:
    """The reading of that key. One that is lost or cannot be read is forgotten, so that it is made again."""
    row = ReadingRow.objects.filter(key=key).select_related("blob").first()
    if row is None:
        return None
    try:
        reading = Reading.from_bytes(store.read(blob_key(row.blob.sha256)))
    except (KeyMissing, HeaderError):
        row.delete()
        return None
    return reading if reading.key == key else None


def keep_reading(lease: Lease, store: BlobStore, parent: Commit, reading: Reading) -> None:
    """The reading is in the store, with its row. Idempotent; of two workers the first one's stays."""
    digest, size_bytes = put_bytes(store, reading.to_bytes())
    with transaction.atomic():
        lease.guard()
        blob = blob_row(store, digest, size_bytes)
        ReadingRow.objects.bulk_create(
            [ReadingRow(key=reading.key, parent=parent, blob=blob)], ignore_conflicts=True
        )


def put_bytes(store: BlobStore, data: bytes) -> tuple[str, int]:
    """What we made ourselves is in the store under its own sha256; that, and its size. Idempotent."""
    digest = hashlib.sha256(data).hexdigest()
    store.put(blob_key(digest), data)
    return digest, len(data)


def blob_row(store: BlobStore, digest: str, size_bytes: int) -> Blob:
    """The row for bytes that are in the store. In the transaction of whatever refers to it."""
    row, _ = Blob.objects.get_or_create(
        sha256=digest,
        defaults={"size_bytes": size_bytes, "store": store.name, "verified_at": timezone.now()},
    )
    return row
