"""Completion for bash."""

from __future__ import annotations

from holdfast.completing.posix import patterns, quoted, quoted_after
from holdfast.completing.spots import FILES, FOLDERS, REFS, spots_of, values_of
from holdfast.outline import Entry

_BASH = """\
# bash completion for holdfast. In ~/.bashrc:  eval "$(holdfast completion bash)"
_holdfast() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" at="" words="" i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at ${{COMP_WORDS[i]}}" in
{steps}
    esac
  done
  case "$at $prev" in
{values}
  esac
  case "$at" in
{words}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if [[ "$cur" != -* ]]; then
    COMPREPLY=()
    for i in $(compgen -W "$words" -- "$cur"); do [[ "$i" == -* ]] || COMPREPLY+=("$i"); done
    case "$at" in
{kinds}
    esac
  fi
}}
complete -o filenames -F _holdfast holdfast
"""


def bash(root: Entry) -> str:
    """The script."""
    places = list(spots_of(root))
    steps = [f"      {patterns(spot)}) at={quoted(spot.at)} ;;" for spot in places if spot.at]
    values = [
        f"    {'|'.join(quoted_after(at, name) for name in names)}) {_bash_reply(follows)}; return ;;"
        for at, names, follows in values_of(root)
    ]
    words = [
        f"    {quoted(spot.at)}) words={quoted(' '.join(word for word, _ in spot.words))} ;;"
        for spot in places
    ]
    kinds = [f"    {quoted(spot.at)}) {_bash_reply(list(spot.kinds))} ;;" for spot in places if spot.kinds]
    return _BASH.format(
        steps="\n".join(steps), values="\n".join(values), words="\n".join(words), kinds="\n".join(kinds)
    )


def _bash_reply(follows: list[str]) -> str:
    sources = []
    if REFS in follows:
        sources.append('-W "$(holdfast list -q 2>/dev/null | cut -d@ -f1 | sort -u)"')
    if FILES in follows:
        sources.append("-f")
    if FOLDERS in follows:
        sources.append("-d")
    plain = [word for word in follows if word and not word.startswith("@")]
    if plain:
        sources.append(f"-W {quoted(' '.join(plain))}")
    if not sources:
        return ":"
    return "; ".join(f'COMPREPLY+=($(compgen {source} -- "$cur"))' for source in sources)
