"""The body of a commit: lines of JSON, small files inside, large ones by name.

Its length is known beforehand, because many servers take no body without one; no more of a file than a piece is in
memory at once.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from holdfast.errors import Refused
from holdfast.pushing.asking import Hashed
from holdfast.text import printable

READ_BYTES = 3 << 18  # a multiple of three, so that pieces of base64 join


def commit_length(message: str, changed: Sequence[Hashed]) -> int:
    """How many bytes `commit_body` yields."""
    inside = sum(_base64_length(one.digests.size_bytes) for one in changed if not one.wanted.is_lfs)
    return len(_header(message)) + sum(len(_line_of(one)) for one in changed) + inside


def commit_body(message: str, changed: Sequence[Hashed]) -> Iterator[bytes]:
    """The lines, piece by piece."""
    yield _header(message)
    for one in changed:
        if one.wanted.is_lfs:
            yield _line_of(one)
        else:
            yield from _with_content(one)


def _header(message: str) -> bytes:
    return _line({"key": "header", "value": {"summary": message, "description": ""}})


def _line_of(one: Hashed) -> bytes:
    """The line of one file, of a small one with nothing in its `content` yet."""
    path = one.wanted.file.path
    if one.wanted.is_lfs:
        size = one.digests.size_bytes
        return _line(
            {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": one.oid, "size": size}}
        )
    return _line({"key": "file", "value": {"content": "", "path": path, "encoding": "base64"}})


def _with_content(one: Hashed) -> Iterator[bytes]:
    head, tail = _line_of(one).split(b'""', 1)
    yield head + b'"'
    left = one.digests.size_bytes
    with one.wanted.file.local.open("rb") as file:
        while left:
            data = file.read(min(left, READ_BYTES))
            if not data:
                raise Refused(
                    f"{printable(one.wanted.file.local)} became shorter while it was sent", hint="Push again."
                )
            left -= len(data)
            yield base64.b64encode(data)
    yield b'"' + tail


def _base64_length(n_bytes: int) -> int:
    return 4 * -(-n_bytes // 3)


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
