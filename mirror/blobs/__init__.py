"""Where bytes live. `store_from_url` gives the store; `store.py` says what every store promises."""

from collections.abc import Callable
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from mirror.blobs.store import BlobStore, StoreError

__all__ = ["BlobStore", "store_from_url"]

REMEDY = "Set HOLDFAST_BLOBS to file:///path or s3://bucket/prefix?endpoint=https://host&region=name."


def store_from_url(url: str, **options: str) -> BlobStore:
    """The store that the URL names; opens no connection and creates nothing yet.

    `file:///path`, or `s3://bucket/prefix?endpoint=…&region=…` with the settings that `mirror/blobs/s3/settings.py`
    lists; `options` adds to or overrides what the URL's query says. Credentials never belong into the URL.
    """
    parts = urlsplit(url)
    opener = SCHEMES.get(parts.scheme)
    if opener is None:
        known = ", ".join(SCHEMES)
        raise StoreError(
            f"{url}: no blob store is called {parts.scheme!r} ({known}). {REMEDY}", code="bad-store-url"
        )
    return opener(parts, dict(parse_qsl(parts.query, keep_blank_values=True)) | options)


def _open_directory(parts: SplitResult, options: dict[str, str]) -> BlobStore:
    from mirror.blobs.directory import DirectoryStore

    path = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or not path.strip("/") or options:
        raise StoreError(
            f"{parts.geturl()}: a directory store is file:///path. {REMEDY}", code="bad-store-url"
        )
    return DirectoryStore(path)


def _open_s3(parts: SplitResult, options: dict[str, str]) -> BlobStore:
    from mirror.blobs.s3 import S3Store, read_settings

    return S3Store(read_settings(parts.netloc, unquote(parts.path), options))


SCHEMES: dict[str, Callable[[SplitResult, dict[str, str]], BlobStore]] = {
    "file": _open_directory,
    "s3": _open_s3,
}
