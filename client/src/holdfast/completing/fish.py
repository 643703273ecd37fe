"""Completion for fish."""

from __future__ import annotations

from holdfast.completing.spots import FILES, FOLDERS, PLACES, REFS, Spot, spots_of
from holdfast.outline import Entry, Flag

_FISH = """\
# fish completion for holdfast:  holdfast completion fish > ~/.config/fish/completions/holdfast.fish
function __holdfast_refs
    holdfast list -q 2>/dev/null | string replace -r '@.*' '' | sort -u
end
function __holdfast_at
    set -l at ''
    for word in (commandline -opc)[2..-1]
        switch "$at $word"
{steps}
        end
    end
    test "$at" = "$argv[1]"
end
complete -c holdfast -f
{lines}
"""


def fish(root: Entry) -> str:
    """The script."""
    lines = []
    for entry in root.walk():
        test = f'-n "__holdfast_at {_fish_quoted(entry.name)}"'
        for one in entry.entries:
            for name in (one.path[-1], *one.aliases):
                lines.append(f"complete -c holdfast {test} -a {name} -d {_fish_quoted(one.help)}")
        for argument in entry.arguments:
            follows = list(argument.choices) or [PLACES.get(argument.name, "")]
            lines += [f"complete -c holdfast {test} {more}" for more in _fish_follows(follows)]
        anywhere = "" if entry is root else f"{test} "
        lines += [f"complete -c holdfast {anywhere}{_fish_flag(flag)}" for flag in entry.flags]
    steps = [_fish_step(spot) for spot in spots_of(root) if spot.at]
    return _FISH.format(steps="\n".join(steps), lines="\n".join(lines))


def _fish_step(spot: Spot) -> str:
    ways = " ".join(_fish_quoted(f"{spot.above} {way}") for way in spot.ways)
    return f"            case {ways}\n                set at {_fish_quoted(spot.at)}"


def _fish_flag(flag: Flag) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
    value = ""
    if flag.value:
        follows = list(flag.choices) or [PLACES.get(flag.value, "")]
        value = " " + " ".join(["-r", *(_fish_follows(follows) or ["-f"])])
    return f"{names}{value} -d {_fish_quoted(flag.help)}"


def _fish_follows(follows: list[str]) -> list[str]:
    known = {REFS: "-a '(__holdfast_refs)'", FILES: "-F", FOLDERS: "-a '(__fish_complete_directories)'"}
    found = [known[word] for word in follows if word in known]
    plain = " ".join(word for word in follows if word and not word.startswith("@"))
    return found + ([f"-f -a {_fish_quoted(plain)}"] if plain else [])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
