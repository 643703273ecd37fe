"""The lines of a requirements file as pip reads them: joined where they end in a backslash, without comments, in words.

Variables (`${NAME}`) are put in when a line is already in words, so that no value can add an option.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import HoldfastError, UsageError
from holdfast.text import printable

MAX_FILE_BYTES = 4 << 20
_CODE = re.compile(r"""(?:"[^"]*"|'[^']*'|(?<=\S)#|[^#])*""")  # up to a # that begins a word outside quotes
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Line:
    """One line in words. `place` is how errors call it: `models.txt:3`."""

    words: tuple[str, ...]
    path: Path
    place: str


def read_lines(path: Path, environ: Mapping[str, str]) -> Iterator[Line]:
    """Every line that says something. Raises UsageError naming the file, or the file and the line."""
    for number, text in _joined(_read_text(path)):
        place = f"{path}:{number}"
        words = tuple(_expanded(word, environ, place) for word in _split(text, place))
        if any(_CONTROL.search(word) for word in words):
            raise bad_line(place, "it holds a control character")
        if words:
            yield Line(words, path, place)


def bad_line(place: str, reason: str, *, hint: str = "") -> UsageError:
    """A line that cannot be understood."""
    return UsageError(f"{printable(place)}: {reason}", hint=hint, place=place)


@contextmanager
def naming(place: str) -> Iterator[None]:
    """An error below says which line asked for what failed. No place: nothing is added."""
    try:
        yield
    except HoldfastError as error:
        if place and place not in error.message:
            error.message = f"{printable(place)}: {error.message}"
            error.facts["place"] = place
        raise


def _read_text(path: Path) -> str:
    name = printable(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot read {name}: {printable(reason)}", hint="check the path", path=str(path)
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(
            f"{name} is larger than {MAX_FILE_BYTES >> 20} MiB", hint="that is no list of models"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name} is not UTF-8: {error.reason} at byte {error.start}", hint="save it as UTF-8"
        ) from error


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Whole lines with the number of their first. A comment ends a line that goes on."""
    started = 0
    pieces: list[str] = []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        is_comment = line.lstrip().startswith("#")
        started = started if pieces else number
        if line.endswith("\\") and not is_comment:
            pieces.append(_without_comment(line[:-1]))
            continue
        yield started, " ".join([*pieces, _without_comment(line)])
        pieces = []
    if pieces:
        yield started, " ".join(pieces)


def _without_comment(line: str) -> str:
    match = _CODE.match(line)
    return match.group() if match else ""


def _split(text: str, place: str) -> list[str]:
    """In words, with quotes as a shell has them. A backslash is one, because Windows paths have them."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return list(lexer)
    except ValueError as error:
        raise bad_line(place, "a quotation mark has no partner") from error


def _expanded(word: str, environ: Mapping[str, str], place: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match.group(1) not in environ:
            raise bad_line(place, f"the variable {match.group(1)} is not set")
        return environ[match.group(1)]

    return _VARIABLE.sub(value, word)
