"""From an address to a source: which kind of store it is by its scheme, and how models lie in it by a look at it.

| address                                     | holds                                                         |
|---------------------------------------------|---------------------------------------------------------------|
| a folder                                    | a bundle, the blob store of a Holdfast server, or plain trees |
| `http://…`, `https://…`                     | a bundle or plain trees                                       |
| `s3://…`, `s3+https://…`, `s3+http://…`     | a bundle or the blob store of a Holdfast server               |
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Callable

from holdfast.bundles.manifest import NAME, read_manifest
from holdfast.errors import AuthFailed, BadAnswer, NotFound
from holdfast.network.connecting import open_transport, open_transport_with
from holdfast.network.transport import Answer, Transport
from holdfast.network.urls import show_url
from holdfast.output import Output
from holdfast.reference import FOLDERS, LOCAL_NAMES, REGISTRIES
from holdfast.settings import Settings
from holdfast.sources.archive import Archive
from holdfast.sources.bundled import BundleSource
from holdfast.sources.oci import OciSource
from holdfast.sources.remote import RemoteFile, VariantAnswer
from holdfast.sources.s3 import S3Store, bucket_address
from holdfast.sources.signing import credentials_from
from holdfast.sources.source import OpenRange, Source
from holdfast.sources.stores import FolderStore, Store, WebStore
from holdfast.sources.sums import SumsTree
from holdfast.text import printable


def open_place(place: str, settings: Settings, out: Output) -> Source:
    """The source at the address. Nothing is read before it is asked something."""
    if place.startswith(("s3://", "s3+")):
        store: Store = _bucket(place, settings, out)
        return Place(store, lambda: _look(store, Archive(store)))
    if place.startswith(("http://", "https://")):
        store = WebStore(place, open_transport(place, settings, out), retries=settings.retries)
        return Place(store, lambda: _look(store, SumsTree(store, retries=settings.retries)))
    return open_folder(Path(place))


def open_folder(folder: Path) -> Source:
    """The source in a folder of this machine."""
    store = FolderStore(folder.absolute())
    return Place(store, lambda: _look_in_folder(store))


def open_folder_url(url: str) -> Source:
    """The source in the folder of a `file://` address."""
    from urllib.request import url2pathname

    return open_folder(Path(url2pathname(url[len(FOLDERS) :])))


def open_registry(url: str, settings: Settings, out: Output) -> Source:
    """The registry of an `oci://` address; one on this machine is asked by http. Its own token goes to it alone."""
    host = url[len(REGISTRIES) :]
    base_url = f"{'http' if host.startswith(LOCAL_NAMES) else 'https'}://{host}"

    def connect(place: str, token: str | None) -> Transport:
        return open_transport_with(token or settings.token_for(place), place, settings, out)

    return OciSource(url, base_url, connect, retries=settings.retries)


def _bucket(place: str, settings: Settings, out: Output) -> S3Store:
    """Tokens are for indexes: a bucket gets none."""
    address = bucket_address(place, os.environ)
    transport = open_transport_with(None, address, settings, out)
    return S3Store(
        place, address, transport, credentials=credentials_from(os.environ), retries=settings.retries
    )


def _look_in_folder(store: FolderStore) -> Source:
    if not store.folder.is_dir():
        raise BadAnswer(
            f"there is no folder {printable(store.folder)}",
            hint="Check --find-links; is the disk mounted?",
            folder=str(store.folder),
        )
    is_store = (store.folder / "commits").is_dir() and (store.folder / "blobs").is_dir()
    return _look(store, Archive(store) if is_store else SumsTree(store, retries=0))


def _look(store: Store, otherwise: Source) -> Source:
    """A bundle if there is a manifest of one. Who may not list a bucket is refused what is not there."""
    try:
        text = store.read(NAME)
    except (NotFound, AuthFailed):
        return otherwise
    return BundleSource(store, read_manifest(text, where=f"{show_url(store.url)}/{NAME}"))


class Place:
    """A source that is looked at when it is first asked."""

    def __init__(self, store: Store, look: Callable[[], Source]) -> None:
        self.index_url = store.url
        self._look = look
        self._source: Source | None = None
        self._lock = threading.Lock()

    @property
    def source(self) -> Source:
        """What it turned out to be."""
        with self._lock:
            if self._source is None:
                self._source = self._look()
            return self._source

    def resolve(self, repo_id: str, revision: str) -> str:
        return self.source.resolve(repo_id, revision)

    def list_files(self, repo_id: str, commit: str) -> list[RemoteFile]:
        return self.source.list_files(repo_id, commit)

    def resolve_variant(self, repo_id: str, revision: str, variant: str) -> VariantAnswer | None:
        return self.source.resolve_variant(repo_id, revision, variant)

    def open_file(
        self, repo_id: str, commit: str, path: str, start: int, end: int | None
    ) -> AbstractContextManager[Answer]:
        return self.source.open_file(repo_id, commit, path, start, end)

    def find(self, repo_id: str | None, commit: str, file: RemoteFile) -> OpenRange | None:
        return self.source.find(repo_id, commit, file)
