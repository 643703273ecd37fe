"""Which parts of one large file an index has, kept in the cache over the end of the process."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from holdfast.cache.layout import write_atomically
from holdfast.network.urls import origin, show_origin
from holdfast.pushing.objects import Store


class Note:
    """Which parts of one object an index has. Lies in the cache; a note that cannot be read is none."""

    def __init__(self, store: Store, oid: str, part_bytes: int, n_parts: int) -> None:
        self._path = store.notes / f"{oid}.json"
        self._about = {
            "index": show_origin(origin(store.index_url)),
            "repo_id": store.repo_id,
            "part_bytes": part_bytes,
        }
        self.etags = {number: etag for number, etag in self._read() if number <= n_parts}
        self.was_kept = bool(self.etags)

    def add(self, number: int, etag: str) -> None:
        """The part was taken."""
        self.etags[number] = etag
        with contextlib.suppress(OSError):
            write_atomically(self._path, json.dumps({**self._about, "parts": self.etags}))

    def forget(self) -> None:
        """Nothing is known of the object any more."""
        self.etags, self.was_kept = {}, False
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _read(self) -> Iterator[tuple[int, str]]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            if {name: kept[name] for name in self._about} == self._about:
                yield from [(int(number), str(etag)) for number, etag in kept["parts"].items()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
