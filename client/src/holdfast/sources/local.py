"""Files on a disk of this machine, read as if they came over the network: the rest need not know the difference."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from holdfast.errors import BadAnswer, NetworkError, NotFound
from holdfast.network.transport import Answer
from holdfast.text import printable


class LocalAnswer(Answer):
    """The bytes [start, end) of an open file."""

    def __init__(self, path: Path, file: BinaryIO, size: int, start: int, end: int | None) -> None:
        stop = size if end is None else min(end, size)
        asked_part = start > 0 or end is not None
        length = max(stop - start, 0)
        self.url = path.as_uri()
        self.status = 206 if asked_part else 200
        self.headers = {"Content-Length": str(length)}
        if asked_part:
            self.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._file = file
        self._left = length
        file.seek(start)

    def read_some(self, limit: int) -> bytes:
        try:
            data = self._file.read(min(limit, self._left))
        except OSError as error:
            raise NetworkError(
                f"cannot read {printable(self._file.name)}: {error.strerror or error}",
                hint="The disk has a problem. Run the same command again: it continues where it stopped.",
                url=self.url,
            ) from error
        self._left -= len(data)
        return data


@contextmanager
def open_local(path: Path, start: int, end: int | None) -> Iterator[Answer]:
    """Bytes [start, end) of a plain file. Raises NotFound, and BadAnswer for what is no file or may not be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadAnswer(f"{printable(path)} is not a plain file", path=str(path))
        file = path.open("rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"no such file: {printable(path)}", path=str(path)) from error
    except OSError as error:
        raise BadAnswer(
            f"cannot read {printable(path)}: {error.strerror or error}",
            hint="Give this user the right to read it.",
            path=str(path),
        ) from error
    with file:
        yield LocalAnswer(path, file, status.st_size, start, end)
