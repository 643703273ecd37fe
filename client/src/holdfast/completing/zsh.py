"""Completion for zsh."""

from __future__ import annotations

from holdfast.completing.posix import patterns, quoted, quoted_after
from holdfast.completing.spots import FILES, FOLDERS, REFS, spots_of, values_of
from holdfast.outline import Entry

_ZSH = """\
#compdef holdfast
# zsh completion for holdfast. In ~/.zshrc, after compinit:  eval "$(holdfast completion zsh)"
_holdfast() {{
  local at="" i
  local -a words_here
  for (( i = 2; i < CURRENT; i++ )); do
    case "$at ${{words[i]}}" in
{steps}
    esac
  done
  case "$at ${{words[CURRENT-1]}}" in
{values}
  esac
  case "$at" in
{words}
  esac
  if [[ "${{words[CURRENT]}}" == -* ]]; then
    _describe -o 'flag' words_here
    return
  fi
  words_here=(${{words_here:#-*}})
  (( $#words_here )) && _describe 'command' words_here
  case "$at" in
{kinds}
  esac
}}
if [[ "${{zsh_eval_context[-1]}}" == loadautofunc ]]; then _holdfast "$@"; else compdef _holdfast holdfast; fi
"""


def zsh(root: Entry) -> str:
    """The script."""
    places = list(spots_of(root))
    steps = [f"      ({patterns(spot)}) at={quoted(spot.at)} ;;" for spot in places if spot.at]
    values = [
        f"    ({'|'.join(quoted_after(at, name) for name in names)}) {_zsh_reply(follows)}; return ;;"
        for at, names, follows in values_of(root)
    ]
    words = [
        f"    ({quoted(spot.at)}) words_here=({' '.join(quoted(_zsh_word(*word)) for word in spot.words)}) ;;"
        for spot in places
    ]
    kinds = [f"    ({quoted(spot.at)}) {_zsh_reply(list(spot.kinds))} ;;" for spot in places if spot.kinds]
    return _ZSH.format(
        steps="\n".join(steps), values="\n".join(values), words="\n".join(words), kinds="\n".join(kinds)
    )


def _zsh_word(word: str, meaning: str) -> str:
    return f"{word}:{meaning}".replace("\\", "\\\\")


def _zsh_reply(follows: list[str]) -> str:
    known = {
        REFS: 'compadd -- ${(u)${(f)"$(holdfast list -q 2>/dev/null)"}%%@*}',
        FILES: "_files",
        FOLDERS: "_files -/",
    }
    plain = " ".join(quoted(word) for word in follows if word and not word.startswith("@"))
    actions = [known[word] for word in follows if word in known] + ([f"compadd -- {plain}"] if plain else [])
    return "; ".join(actions) or ":"
