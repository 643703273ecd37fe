"""What a person or a program reads: the result on stdout, everything else on stderr.

All text that may come from a server passes `printable`, so that no file name or message can move the cursor or fake
a line.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.text import format_bytes, printable, shorten

PLAIN_WIDTH = 80
MAX_WIDTH = 120


def say(text: str, end: str = "\n") -> None:
    """One line on stderr, at once."""
    print(text, end=end, file=sys.stderr, flush=True)


def make_printable(*streams: object) -> None:
    """A character that the terminal's encoding lacks is spelled out, never an error."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Output:
    """The two streams of one run."""

    def __init__(self, *, verbosity: int, as_json: bool) -> None:
        self.verbosity = verbosity
        self.as_json = as_json

    def result(self, text: str) -> None:
        """One line of the result; silent under --json."""
        if not self.as_json:
            print(text, flush=True)

    def json(self, value: Mapping[str, Any]) -> None:
        """The result under --json: one object."""
        if self.as_json:
            print(json.dumps(value, indent=2, ensure_ascii=True), flush=True)

    def note(self, text: str) -> None:
        """One line for a person; silent under -q."""
        if self.verbosity >= 0:
            say(text)

    def trace(self, text: str) -> None:
        """One line for the curious; under -v."""
        if self.verbosity >= 1:
            say(text)

    def error(self, error: HoldfastError) -> None:
        """What happened, to what, what there is to choose from, and what to do next."""
        self.json({"error": error.as_json()})
        say(f"error: {printable(error.message)}")
        choices = error.facts.get("choices")
        for line in choice_lines(choices) if choices else ():
            say(line)
        if error.hint:
            say(f"  {printable(error.hint)}")


def width() -> int:
    """The columns to fill: the terminal's, up to a readable limit."""
    return min(shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns, MAX_WIDTH)


def choice_lines(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of variants: name, size, verdict, where."""
    rows = [
        (
            printable(choice["variant"]),
            format_bytes(choice["size_bytes"]) if choice["size_bytes"] else "",
            printable(choice.get("verdict") or ""),
            printable(f"{choice['repo_id']}//{choice['path']}" if choice["path"] else choice["repo_id"]),
        )
        for choice in choices
    ]
    return table(("VARIANT", "SIZE", "VERDICT", "FROM"), rows, right=(1,), indent="  ", flexible=3)


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    indent: str = "",
    flexible: int = 0,
) -> list[str]:
    """Aligned lines that fit the terminal: the flexible column is shortened, empty columns are left out."""
    shown = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    widths = {i: max(len(heads[i]), *(len(row[i]) for row in rows)) for i in shown}
    spare = width() - len(indent) - 2 * (len(shown) - 1) - sum(widths.values())
    if spare < 0 and flexible in widths:
        widths[flexible] = max(widths[flexible] + spare, len(heads[flexible]), 12)

    def line(cells: Sequence[str]) -> str:
        parts = [
            shorten(cells[i], widths[i]).rjust(widths[i])
            if i in right
            else shorten(cells[i], widths[i]).ljust(widths[i])
            for i in shown
        ]
        return (indent + "  ".join(parts)).rstrip()

    return [line(heads), *(line(row) for row in rows)]
