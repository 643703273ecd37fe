"""The command line as a completion script needs it: where one can be, and what may follow there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.outline import Entry, Flag

REFS, FILES, FOLDERS = "@refs", "@files", "@folders"
PLACES = {"FILE": FILES, "DIR": FOLDERS, "REF": REFS, "REPO": REFS, "DIR|URL": FOLDERS}
PLACES["FILE[,KEY]"] = FILES


@dataclass(frozen=True)
class Spot:
    """What may come after a command or action: words with what they mean, and what its arguments are."""

    at: str  # "", "pull", "cache prune"
    ways: tuple[str, ...]  # how one gets here from the spot above: the name and its aliases
    above: str
    words: tuple[tuple[str, str], ...]
    kinds: tuple[str, ...]


def spots_of(root: Entry) -> Iterator[Spot]:
    """Every place on the command line where something can follow."""
    for entry in root.walk():
        words = [(one.path[-1], one.help) for one in entry.entries]
        words += [(choice, argument.help) for argument in entry.arguments for choice in argument.choices]
        flags = entry.flags if entry is root else (*entry.flags, *_everywhere(root))
        words += [(name, flag.help) for flag in flags for name in flag.names if name.startswith("--")]
        kinds = [PLACES[one.name] for one in entry.arguments if one.name in PLACES]
        above = " ".join(entry.path[:-1])
        yield Spot(entry.name, (*entry.path[-1:], *entry.aliases), above, tuple(words), tuple(kinds))


def _everywhere(root: Entry) -> list[Flag]:
    return [flag for flag in root.flags if "--version" not in flag.names]


def values_of(root: Entry) -> Iterator[tuple[str, tuple[str, ...], list[str]]]:
    """(spot, names, what may follow) of every flag that takes a value; the spot `*` is any."""
    for entry in root.walk():
        for flag in entry.flags:
            if flag.value:
                follows = list(flag.choices) or [PLACES.get(flag.value, "")]
                yield ("*" if entry is root else entry.name), flag.names, follows
