"""The patterns of `.gitattributes` and `.gitignore` (gitattributes(5), gitignore(5)), matched in bounded time.

A pattern is split at its slashes and each piece is matched against one segment of the path; `**` stands for any number
of segments. Pieces become regular expressions that never go back behind a `*` (`fnmatch.translate`),
so no pattern, however hostile, takes longer than its length times that of the path.

Differences from git: no quoted patterns, no `.gitattributes` in folders, no macros.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import translate

MAX_RULES_BYTES = 256 << 10
"""Of a file of rules that we read; a longer one says nothing to us."""
ANY_FOLDERS = None
Piece = re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a line of rules applies to. `is_folder`: only to folders (a slash at its end)."""

    pieces: tuple[Piece, ...]
    is_folder: bool

    @classmethod
    def of(cls, text: str) -> "Pattern":
        body = text.removesuffix("/")
        segments = body.removeprefix("/").split("/")
        if "/" not in body:
            segments = ["**", *segments]  # a name alone counts in every folder
        if segments[-1] == "**":
            segments.append("*")  # what lies within, not the folder itself
        return cls(tuple(_piece(segment) for segment in segments), text.endswith("/"))

    def matches(self, path: str, *, is_folder: bool = False) -> bool:
        if self.is_folder and not is_folder:
            return False
        segments = path.split("/")
        reached = {0}
        for piece in self.pieces:
            if piece is ANY_FOLDERS:
                reached = set(range(min(reached), len(segments) + 1)) if reached else set()
            else:
                reached = {at + 1 for at in reached if at < len(segments) and piece.match(segments[at])}
        return len(segments) in reached


def _piece(segment: str) -> Piece:
    if segment == "**":
        return ANY_FOLDERS
    return re.compile(translate(segment.replace("[^", "[!").replace("\\", "")))


def _lines(rules: bytes) -> Iterator[str]:
    """The lines that say something, without spaces around them."""
    if len(rules) <= MAX_RULES_BYTES:
        for line in rules.decode(errors="replace").splitlines():
            if (text := line.strip()) and not text.startswith("#"):
                yield text


class LfsPatterns:
    """Which paths a `.gitattributes` gives `filter=lfs`; the last line that speaks of `filter` decides."""

    def __init__(self, gitattributes: bytes = b"") -> None:
        self._rules: list[tuple[Pattern, bool]] = []
        for line in _lines(gitattributes):
            pattern, *attributes = line.split()
            filters = [one for one in attributes if one.lstrip("-!").partition("=")[0] == "filter"]
            if filters:
                self._rules.append((Pattern.of(pattern), filters[-1] == "filter=lfs"))

    def matches(self, path: str) -> bool:
        return next((is_lfs for pattern, is_lfs in reversed(self._rules) if pattern.matches(path)), False)


class IgnorePatterns:
    """Which paths a `.gitignore` leaves out: themselves, or with a folder above them."""

    def __init__(self, gitignore: bytes = b"") -> None:
        self._rules = [
            (Pattern.of(line.removeprefix("!")), not line.startswith("!")) for line in _lines(gitignore)
        ]

    def matches(self, path: str) -> bool:
        segments = path.split("/")
        folders = ("/".join(segments[:depth]) for depth in range(1, len(segments)))
        return any(self._says(folder, is_folder=True) for folder in folders) or self._says(
            path, is_folder=False
        )

    def _says(self, path: str, *, is_folder: bool) -> bool:
        rules = reversed(self._rules)
        return next((out for pattern, out in rules if pattern.matches(path, is_folder=is_folder)), False)
