"""Reading the part objects of a staged file behind their writer, from any machine.

Only whole parts can be seen, 8 MiB at first, so whoever follows is that far behind; a file smaller than one part is
never seen before it has its name.
"""

from bisect import bisect_right

from mirror.blobs.errors import KeyMissing, StagedGone
from mirror.blobs.keys import INCOMING
from mirror.blobs.s3.connection import Connection
from mirror.blobs.s3.listing import list_objects
from mirror.blobs.s3.reader import RangeStream
from mirror.blobs.s3.staging import whole_parts


class PartsTail:
    """The `Tail` of a bucket. One listing for each look at the size."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self._name = connection, name
        self._folder = f"{INCOMING}{name}/"
        self._keys: list[str] = []
        self._ends: list[int] = []

    def size_bytes(self) -> int:
        parts = whole_parts(
            self._connection, self._folder, list(list_objects(self._connection, self._folder))
        )
        keys = [f"{self._folder}{part.number:05d}-{part.sha256}" for part in parts]
        if keys[: len(self._keys)] != self._keys:
            raise StagedGone(self._name)
        for part, key in list(zip(parts, keys, strict=True))[len(self._keys) :]:
            self._keys.append(key)
            self._ends.append((self._ends[-1] if self._ends else 0) + part.size_bytes)
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, length: int) -> bytes:
        """As much of that range as one part holds."""
        place = bisect_right(self._ends, start)
        if place == len(self._ends):
            raise StagedGone(self._name)
        first = self._ends[place - 1] if place else 0
        wanted = min(length, self._ends[place] - start)
        try:
            with RangeStream(self._connection, self._keys[place], start - first, wanted) as reader:
                return reader.readall()
        except KeyMissing:
            raise StagedGone(self._name) from None

    def close(self) -> None:
        """Nothing is open between two calls."""
