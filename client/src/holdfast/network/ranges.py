"""What an answer to a range request must look like before a byte of it is taken."""

from __future__ import annotations

import re

from holdfast.errors import BadAnswer, HashMismatch
from holdfast.network.transport import Answer, show_url

_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+)$")


def first_byte(answer: Answer, start: int, size: int, name: str) -> int:
    """How many bytes of the body come before `start`: 0, or `start` where the index ignores ranges.

    Raises if this cannot be the file: a web page, another size, another range.
    """
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "text/html" and not name.lower().endswith((".html", ".htm")):
        raise BadAnswer(
            f"{show_url(answer.url)} sent a web page instead of {name}",
            hint="A login page or a proxy may be in between. Check the address (-i) and the token.",
            url=answer.url,
        )
    if answer.status == 206:
        return _check_range(answer, start, size, name)
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) != size:
        raise wrong_size(name, size, int(length))
    return start


def _check_range(answer: Answer, start: int, size: int, name: str) -> int:
    match = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    if match is None or int(match.group(1)) != start:
        raise BadAnswer(f"{show_url(answer.url)} answered with another range than asked for", url=answer.url)
    if int(match.group(3)) != size:
        raise wrong_size(name, size, int(match.group(3)))
    return 0


def wrong_size(name: str, expected: int, got: int) -> HashMismatch:
    """The index lists one size and serves another."""
    return HashMismatch(
        f"size mismatch: {name}: listed with {expected} bytes, served with {got} bytes",
        hint="No byte of it was taken. The index has a damaged copy: tell its operator, or try another (-i).",
        name=name,
        expected=expected,
        actual=got,
    )
