"""The one blob store this service is configured with."""

from functools import cache

from django.conf import settings

from mirror.blobs import BlobStore, store_from_url


@cache
def _store(url: str) -> BlobStore:
    return store_from_url(url)


def blob_store() -> BlobStore:
    """The store named by HOLDFAST_BLOBS; one object per process and URL, safe to share between threads."""
    return _store(settings.HOLDFAST_BLOBS)
