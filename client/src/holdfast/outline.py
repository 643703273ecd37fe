"""The command line as plain facts, read from the parsers: for shell completion, the manual, and nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.arguments import build_parser, command_parsers
from holdfast.commands import COMMANDS


@dataclass(frozen=True)
class Flag:
    """`-d`, `--dest DIR`: its names, the word for its value (empty: it takes none), and what that may be."""

    names: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    help: str

    @property
    def shown(self) -> str:
        """`-d, --dest DIR`"""
        return ", ".join(self.names) + (f" {self.value}" if self.value else "")


@dataclass(frozen=True)
class Argument:
    """What stands without a flag: `REF…`"""

    name: str
    choices: tuple[str, ...]
    help: str
    is_needed: bool
    is_repeatable: bool

    @property
    def shown(self) -> str:
        """`REF…`, `[REPO…]`, `bash|zsh`"""
        name = "|".join(self.choices) if self.choices else self.name
        name = f"{name} …" if self.is_repeatable else name
        return name if self.is_needed else f"[{name}]"


@dataclass(frozen=True)
class Entry:
    """A command, or an action of one: `pull`, `cache prune`. Global flags are only in the root's entry."""

    path: tuple[str, ...]
    aliases: tuple[str, ...]
    help: str
    description: str
    arguments: tuple[Argument, ...]
    flags: tuple[Flag, ...]
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        return " ".join(self.path)

    @property
    def usage(self) -> str:
        """`holdfast pull [FLAGS] REF …`"""
        words = ["holdfast", *self.path] + (["ACTION"] if self.entries else [])
        return " ".join(words + (["[FLAGS]"] if self.flags else []) + [one.shown for one in self.arguments])

    def walk(self) -> Iterator[Entry]:
        """This entry and all below it."""
        yield self
        for entry in self.entries:
            yield from entry.walk()


def read_outline() -> Entry:
    """The whole command line; the root's path is empty. Imports every command."""
    root = build_parser()
    parsers = command_parsers(root)
    everywhere = frozenset(name for flag in _flags(root, frozenset()) for name in flag.names)
    entries = tuple(
        _entry(parser, (name,), COMMANDS[name].help, COMMANDS[name].aliases, everywhere)
        for name, parser in parsers.items()
    )
    return Entry((), (), "", root.description or "", (), _flags(root, frozenset()), entries)


def _entry(
    parser: argparse.ArgumentParser,
    path: tuple[str, ...],
    help_text: str,
    aliases: tuple[str, ...],
    everywhere: frozenset[str],
) -> Entry:
    fill = getattr(parser, "fill", None)
    if fill is not None:
        fill()
    below = tuple(
        _entry(one, (*path, name), about, (), everywhere) for name, one, about in _actions_of(parser)
    )
    flags = _flags(parser, everywhere)
    return Entry(path, aliases, help_text, parser.description or help_text, _arguments(parser), flags, below)


def _actions_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """The actions below a command, each under its first name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, one in action.choices.items():
                if name in helps:
                    yield name, one, helps[name]


def _flags(parser: argparse.ArgumentParser, without: frozenset[str]) -> tuple[Flag, ...]:
    return tuple(
        Flag(tuple(action.option_strings), _value(action), _choices(action), _said(action))
        for action in parser._actions
        if action.option_strings
        and action.help != argparse.SUPPRESS
        and not without & {*action.option_strings}
    )


def _arguments(parser: argparse.ArgumentParser) -> tuple[Argument, ...]:
    return tuple(
        _argument(action)
        for action in parser._actions
        if not action.option_strings and not isinstance(action, argparse._SubParsersAction)
    )


def _argument(action: argparse.Action) -> Argument:
    is_needed, is_repeatable = action.nargs not in ("*", "?"), action.nargs in ("*", "+", "...")
    return Argument(_metavar(action), _choices(action), _said(action), is_needed, is_repeatable)


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    choices = _choices(action)
    return "|".join(choices) if choices and action.metavar is None else _metavar(action)


def _metavar(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest.upper()


def _choices(action: argparse.Action) -> tuple[str, ...]:
    return () if action.choices is None else tuple(map(str, action.choices))


def _said(action: argparse.Action) -> str:
    """The help with its `%%` undone; ours use no other interpolation."""
    return (action.help or "").replace("%%", "%")
