"""Where broken objects go: they keep their bytes, for whoever wants to know what happened, but not their name."""

from contextlib import suppress
from datetime import UTC, datetime

from mirror.blobs.store import BlobStore, StoreError, blob_key


def set_aside(store: BlobStore, sha256: str) -> None:
    """Nothing lies under the blob's name, so that good bytes can be put there; what lay there is in `quarantine/`.

    A store never overwrites, hence this. Call it when the good bytes are staged and verified. Idempotent.
    """
    key = blob_key(sha256)
    if store.stat(key) is None:
        return
    with suppress(StoreError, OSError):  # unreadable bytes cannot be kept
        store.copy(key, f"quarantine/{sha256}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    store.delete(key)
