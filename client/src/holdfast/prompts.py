"""Questions to a person at a terminal. Nobody is ever asked where nobody can answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from holdfast.output import choice_lines, say
from holdfast.settings import Settings
from holdfast.sources.remote import Choice
from holdfast.text import printable


def can_ask(settings: Settings) -> bool:
    """Whether a person is there: both ends are a terminal, and neither --no-input nor --json was given."""
    return not settings.no_input and not settings.json and sys.stdin.isatty() and sys.stderr.isatty()


def ask_variant(repo_id: str, choices: Sequence[Choice]) -> str | None:
    """The variant that a person chose by number or name; None for an empty answer."""
    say(f"{printable(repo_id)} holds several variants:")
    head, *lines = choice_lines([choice.__dict__ for choice in choices], repo_id)
    say(f"     {head}")
    for number, line in enumerate(lines, start=1):
        say(f"{number:>4} {line}")
    while (answer := _read("Which one? [number or name, empty to stop] ")) != "":
        if answer.isdecimal() and 1 <= int(answer) <= len(choices):
            return choices[int(answer) - 1].variant
        if any(answer.casefold() == choice.variant.casefold() for choice in choices):
            return answer
        say(f"There is no {answer!r} above.")
    return None


def confirm(question: str, *, default: bool = True) -> bool:
    """Whether the person agreed; an empty answer is the default."""
    answer = _read(f"{question} [{'Y/n' if default else 'y/N'}] ").lower()
    return answer in ("y", "yes") or (default and not answer)


def _read(question: str) -> str:
    """An answer without its line end; empty at the end of input."""
    say(question, end="")
    return sys.stdin.readline().strip()
