"""Look at the configuration, and change one key of one file without touching the rest of it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from holdfast.configuration.files import (
    PROJECT,
    PROJECT_NAME,
    SYSTEM,
    ConfigFile,
    forbidden,
    project_file,
    system_file,
    user_file,
)
from holdfast.configuration.keeping import ORDINARY, PRIVATE, keep_text
from holdfast.configuration.options import OPTIONS, Option
from holdfast.configuration.precedence import working_folder
from holdfast.configuration.tomledit import set_key, unset_key
from holdfast.errors import HoldfastError, UsageError
from holdfast.text import printable

TEMPLATE = "# What can be set, and where each value comes from: holdfast config list\n"


def file_of(scope: str, environ: Mapping[str, str]) -> ConfigFile:
    """The file of the scope, which need not be there; a project's is the nearest, or would be here."""
    if scope == PROJECT:
        folder = _here()
        return project_file(folder) or ConfigFile(PROJECT, folder / PROJECT_NAME)
    return system_file(environ) if scope == SYSTEM else user_file(environ)


def find_option(key: str) -> Option:
    """The option of that name, with `-` or `_`. UsageError with the nearest one if there is none."""
    option = OPTIONS.get(key.replace("_", "-").lower())
    if option is None:
        near = get_close_matches(key.replace("_", "-").lower(), OPTIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else "holdfast config list shows them all"
        raise UsageError(f"there is no key {printable(key)}", hint=hint)
    return option


def set_option(option: Option, words: Sequence[str], file: ConfigFile) -> Any:
    """Afterwards the file says so, and all else that it said. Returns what it says. Raises UsageError, NotWritable."""
    if option.default != () and len(words) > 1:
        raise UsageError(f"{option.key} takes one value", hint="put it in quotes if it holds spaces")
    raw = list(words) if option.default == () else words[0]
    value = option.value(raw, named=option.key, base=_here())
    reason = forbidden(option, value, file)
    if reason is not None:
        raise UsageError(f"{option.key}: {reason}", hint="holdfast config set --user sets it for you alone.")
    stored = _as_stored(value, words[0], file)
    _change(file, lambda text: set_key(text, file.table, option.key, stored))
    return stored


def unset_option(option: Option, file: ConfigFile) -> bool:
    """Afterwards the file does not say what the key is. False if it did not before."""
    return _change(file, lambda text: unset_key(text, file.table, option.key))


def edit(file: ConfigFile, environ: Mapping[str, str]) -> None:
    """Opens the file in the person's editor and waits. Raises UsageError if it makes no sense afterwards."""
    command = _editor(environ)
    if not file.path.exists():
        keep_text(file.path, TEMPLATE + (f"[{file.table}]\n" if file.table else ""), mode=_mode(file))
    try:
        code = subprocess.call([*command, str(file.path)])
    except OSError as error:
        raise UsageError(
            f"cannot start the editor {printable(command[0])}: {error.strerror}",
            hint=f"Set EDITOR, or edit {printable(file.path)} yourself.",
        ) from error
    if code != 0:
        raise HoldfastError(
            f"the editor {printable(command[0])} ended with {code}",
            hint="Run it again; the file is as it left it.",
        )
    file.values(file.read_text())


def show(value: Any) -> Any:
    """The value as a file would have it: paths as text, several as a list."""
    if isinstance(value, tuple):
        return [show(one) for one in value if one is not None]
    return str(value) if isinstance(value, Path) else value


def without_password(value: Any) -> Any:
    """The value, with the login of a proxy put out of sight."""
    if isinstance(value, str) and "@" in value and "://" in value:
        parts = urlsplit(value)
        return parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}").geturl()
    return value


def _here() -> Path:
    folder = working_folder()
    if folder is None:
        raise UsageError("the working folder is gone", hint="Change to one that is there.")
    return folder


def _editor(environ: Mapping[str, str]) -> list[str]:
    named = environ.get("VISUAL") or environ.get("EDITOR")
    if named:
        return shlex.split(named, posix=os.name != "nt")
    found = next((name for name in ("sensible-editor", "nano", "vi", "notepad") if shutil.which(name)), None)
    if found is None:
        raise UsageError("there is no editor", hint="Set EDITOR, or use holdfast config set.")
    return [found]


def _mode(file: ConfigFile) -> int:
    """A person's file may hold the password of a proxy."""
    return PRIVATE if file.scope not in (PROJECT, SYSTEM) else ORDINARY


def _change(file: ConfigFile, change: Any) -> bool:
    """Whether the text is another one now."""
    text = file.read_text()
    file.values(text)
    try:
        new = change(text)
    except ValueError as error:
        raise UsageError(
            f"cannot change {printable(file.path)}: {printable(error)}", hint="Edit it: holdfast config edit"
        ) from error
    if new != text:
        keep_text(file.path, new, mode=_mode(file))
    return bool(new != text)


def _as_stored(value: Any, word: str, file: ConfigFile) -> Any:
    """What the file is to say: sizes as they were written, paths as they are found again from the file."""
    if isinstance(value, Path):
        return _path_as_stored(value, word, file)
    if isinstance(value, tuple):
        if any(isinstance(one, Path) for one in value):  # a certificate and its key
            return ",".join(str(one) for one in value if one is not None)
        return [_path_as_stored(Path(one), one, file) if Path(one).is_absolute() else one for one in value]
    is_size = isinstance(value, int) and not isinstance(value, bool)
    return word.strip() if is_size and not word.strip().isdecimal() else value


def _path_as_stored(path: Path, word: str, file: ConfigFile) -> str:
    if file.scope == PROJECT:
        return Path(os.path.relpath(path, file.path.parent)).as_posix()
    return word if word.startswith("~") else str(path)
