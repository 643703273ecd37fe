"""Completion for four shells, written from the outline: a shell then knows every command, flag and choice by itself.

Only the names of cached repos are asked for, by `holdfast list -q`, which reads the disk and nothing else. A script is
text for a shell to run, so what goes into one is quoted, although all of it is ours.
"""

from __future__ import annotations

from typing import Callable

from holdfast.completing.bash import bash
from holdfast.completing.fish import fish
from holdfast.completing.powershell import powershell
from holdfast.completing.zsh import zsh
from holdfast.outline import Entry

SHELLS: dict[str, Callable[[Entry], str]] = {"bash": bash, "zsh": zsh, "fish": fish, "powershell": powershell}


def script_for(shell: str, root: Entry) -> str:
    """The script that the shell reads."""
    return SHELLS[shell](root)
