"""What a person or a program reads: the result on stdout, everything else on stderr.

All text that may come from a server passes `printable`, so that no file name or message can move the cursor or fake
a line.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from holdfast.errors import HoldfastError, UsageError
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
        self._log: TextIO | None = None

    def log_to(self, path: Path) -> None:
        """From now on every line is also added to this file, with its time; UsageError if it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._log = path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise UsageError(
                f"--log: cannot write {printable(path)}: {reason}", hint="name another file"
            ) from error

    def close_log(self) -> None:
        """Afterwards nothing more is noted down."""
        if self._log is not None:
            self._log.close()
            self._log = None

    @property
    def traces(self) -> bool:
        """Whether anybody reads what `trace` is told."""
        return self.verbosity >= 1 or self._log is not None

    def _note_down(self, text: str) -> None:
        if self._log is None:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        try:
            self._log.write(f"{stamp}.{int(now % 1 * 1000):03d}Z {text}\n")
            self._log.flush()
        except OSError as error:
            self._log = None  # a full disk must not end a pull to another one
            say(f"note: nothing more is written to the log: {error.strerror}")

    def result(self, text: str) -> None:
        """One line of the result; silent under --json."""
        self._note_down(text)
        if not self.as_json:
            print(text, flush=True)

    def secret(self, text: str) -> None:
        """As `result`, and never in the log."""
        if not self.as_json:
            print(text, flush=True)

    def json(self, value: Mapping[str, Any]) -> None:
        """The result under --json: one object."""
        if self.as_json:
            print(json.dumps(value, indent=2, ensure_ascii=True), flush=True)

    def note(self, text: str) -> None:
        """One line for a person; silent under -q."""
        self._note_down(text)
        if self.verbosity >= 0:
            say(text)

    def trace(self, text: str) -> None:
        """One line for the curious; under -v."""
        self._note_down(text)
        if self.verbosity >= 1:
            say(text)

    def error(self, error: HoldfastError) -> None:
        """What happened, to what, what there is to choose from, and what to do next."""
        self.json({"error": error.as_json()})
        self._note_down(f"error: {error.code}: {printable(error.message)}")
        say(f"error: {printable(error.message)}")
        choices = error.facts.get("choices")
        for line in choice_lines(choices, error.facts.get("repo_id")) if choices else ():
            say(line)
        if error.hint:
            say(f"  {printable(error.hint)}")


def width() -> int:
    """The columns to fill: the terminal's, up to a readable limit."""
    return min(shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns, MAX_WIDTH)


def choice_lines(choices: Sequence[Mapping[str, Any]], repo_id: str | None = None) -> list[str]:
    """A table of variants: name, size, bits per weight, distance from the parent, verdict, where.

    Where is a repo; the path if all are in the repo that was asked for; both if two have one name.
    """
    names = [choice["variant"] for choice in choices]
    is_one = {choice["repo_id"] for choice in choices} == {repo_id}
    rows = [
        (
            printable(choice["variant"]),
            format_bytes(choice["size_bytes"]) if choice["size_bytes"] else "",
            *_quality(choice),
            printable(choice.get("verdict") or ""),
            printable(_place(choice, is_one=is_one, is_alone=names.count(choice["variant"]) == 1)),
        )
        for choice in choices
    ]
    heads = ("VARIANT", "SIZE", "BITS", "KL DIV", "PPL", "VERDICT", "FROM")
    return table(heads, rows, right=(1, 2, 3, 4), indent="  ", flexible=6)


def _place(choice: Mapping[str, Any], *, is_one: bool, is_alone: bool) -> str:
    if is_one:
        return str(choice["path"])
    return str(choice["repo_id"]) if is_alone else f"{choice['repo_id']}//{choice['path']}"


def _quality(choice: Mapping[str, Any]) -> tuple[str, str, str]:
    """Bits per weight, KL divergence from the parent and the change of perplexity: `4.85`, `0.0112`, `+0.6%`."""
    bits, kld, ratio = (choice.get(name) for name in ("bits_per_weight", "mean_kld", "perplexity_ratio"))
    return (
        "" if bits is None else f"{bits:.2f}",
        "" if kld is None else f"{kld:.4f}",
        "" if ratio is None else f"{100 * (ratio - 1):+.1f}%",
    )


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
