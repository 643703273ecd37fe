"""How a file is to be sent, and how it is kept. Two questions: what comes inline may be kept as an LFS object."""

from typing import Literal

from django.conf import settings

from mirror.uploads.patterns import LfsPatterns

Mode = Literal["regular", "lfs"]
MAX_GIT_BYTES = 10_000_000
"""Larger files are LFS objects whatever `.gitattributes` says, as on the hub."""


def upload_mode(size_bytes: int) -> Mode:
    """How a client should send a file of that size. The one place that decides it.

    `regular`: inside the commit, in base64. `lfs`: before the commit, as an LFS object. Clients with hf_xet installed
    ask for a Xet store, and fail without one, whenever the answer is `lfs`; hence as much as is sensible goes inline.
    Empty files always do. A Xet store of our own would change the answer here and nowhere else.
    """
    return "regular" if size_bytes <= settings.HOLDFAST_REGULAR_UPLOAD_BYTES or not size_bytes else "lfs"


def most_inline_bytes() -> int:
    """How large a file inside a commit may be: what is sent so by our own advice, and whatever git keeps itself."""
    return max(int(settings.HOLDFAST_REGULAR_UPLOAD_BYTES), MAX_GIT_BYTES)


def is_kept_by_pointer(path: str, size_bytes: int, patterns: LfsPatterns) -> bool:
    """Whether git keeps an LFS pointer in place of the file: what `.gitattributes` says so of, and what is large.

    An empty file is its own pointer (git-lfs `docs/spec.md`).
    """
    return size_bytes > MAX_GIT_BYTES or (size_bytes > 0 and patterns.matches(path))
