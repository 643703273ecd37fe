"""`holdfast config list|get|set|unset|edit|path`"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Callable

from holdfast.configuration.editing import (
    edit,
    file_of,
    find_option,
    set_option,
    show,
    unset_option,
    without_password,
)
from holdfast.configuration.files import PROJECT, SYSTEM, USER
from holdfast.configuration.options import OPTIONS
from holdfast.configuration.precedence import Configuration, Found, read_configuration
from holdfast.configuration.readers import read_size
from holdfast.configuration.tomledit import show_value
from holdfast.errors import OK, NotFound
from holdfast.output import Output, table
from holdfast.settings import Settings
from holdfast.text import format_bytes, printable, shorten

DESCRIPTION = "Look at the configuration, and change it."
READS_FILES_ITSELF = True  # a file that makes no sense must not keep anybody from mending it
MAX_CELL = 30
SCOPES = (PROJECT, USER, SYSTEM)
Action = Callable[[argparse.Namespace, Settings, Output], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A parser for each action."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="every key with its value, and where that comes from")
    getting = actions.add_parser("get", help="the value of one key")
    setting = actions.add_parser("set", help="write a value into a file; several for a list")
    unsetting = actions.add_parser("unset", help="take a key out of a file")
    for one in (getting, setting, unsetting):
        one.add_argument("key", metavar="KEY", help="as in holdfast config list: index-url")
    setting.add_argument("words", nargs="+", metavar="VALUE", help="what it shall be")
    for one in (
        setting, unsetting, actions.add_parser("edit", help="open a file in your editor (EDITOR)"),
        actions.add_parser("path", help="where a file is, or would be"),
    ):  # fmt: skip
        _add_scopes(one)


def _add_scopes(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.set_defaults(scope=USER)
    files = {
        PROJECT: "the nearest models.toml, or one here",
        USER: "yours (the default)",
        SYSTEM: "the machine's",
    }
    for scope in SCOPES:
        which.add_argument(f"--{scope}", dest="scope", action="store_const", const=scope, help=files[scope])


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Does the action."""
    return _ACTIONS[args.action](args, settings, out)


def _list(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    found = _read(args, out)
    values = {key: _value(found, key, settings) for key in OPTIONS}
    if out.as_json:
        shown = [
            {"key": key, **_as_json(one, without_password(show(one.value))), "help": OPTIONS[key].help}
            for key, one in values.items()
        ]
        out.json({"values": shown, "files": [_file_json(scope) for scope in SCOPES]})
    rows = [(key, _cell(key, one.value), printable(_from_home(one.source))) for key, one in values.items()]
    for line in table(("KEY", "VALUE", "FROM"), rows, flexible=2):
        out.result(line)
    return OK


def _get(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    option = find_option(args.key)
    one = _value(_read(args, out), option.key, settings)
    if one.value in (None, ()):
        raise NotFound(
            f"{option.key} has no value", hint=f"holdfast config set {option.key} VALUE gives it one."
        )
    value = show(one.value)
    out.json({"key": option.key, **_as_json(one, value)})
    for line in value if isinstance(value, list) else [value]:
        out.secret(_shown(line))
    return OK


def _set(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    option, file = find_option(args.key), file_of(args.scope, os.environ)
    stored = set_option(option, args.words, file)
    out.json({"key": option.key, "value": stored, "path": str(file.path)})
    out.note(f"{option.key} = {printable(show_value(without_password(stored)))} in {printable(file.path)}")
    now = _read(args, out).found(option.key)
    if now.source != str(file.path):
        out.note(f"  But {printable(now.source)} wins over it here.")
    return OK


def _unset(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    option, file = find_option(args.key), file_of(args.scope, os.environ)
    changed = unset_option(option, file)
    out.json({"key": option.key, "changed": changed, "path": str(file.path)})
    state = "is no longer" if changed else "was not"
    out.note(f"{option.key} {state} set in {printable(file.path)}")
    return OK


def _edit(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    file = file_of(args.scope, os.environ)
    edit(file, os.environ)
    out.json({"path": str(file.path)})
    _read(args, out)
    return OK


def _path(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    out.json(_file_json(args.scope))
    out.result(str(file_of(args.scope, os.environ).path))
    return OK


_ACTIONS: dict[str, Action] = {
    "list": _list, "get": _get, "set": _set, "unset": _unset, "edit": _edit, "path": _path
}  # fmt: skip


def _read(args: argparse.Namespace, out: Output) -> Configuration:
    found = read_configuration(args, os.environ, with_files=not args.isolated)
    for warning in found.warnings:
        out.note(f"warning: {warning}")
    return found


def _value(found: Configuration, key: str, settings: Settings) -> Found:
    """The value in effect; the cache has one even if nobody named it."""
    one = found.found(key)
    return (
        Found(settings.cache_dir, one.scope, one.source) if key == "cache-dir" and one.value is None else one
    )


def _as_json(one: Found, value: Any) -> dict[str, Any]:
    return {"value": value, "scope": one.scope, "source": one.source}


def _file_json(scope: str) -> dict[str, Any]:
    path = file_of(scope, os.environ).path
    return {"scope": scope, "path": str(path), "exists": path.is_file()}


def _cell(key: str, value: Any) -> str:
    """The value as a column of the table has room for it."""
    if OPTIONS[key].read is read_size and value is not None:
        return format_bytes(value)
    text = _from_home(str(value)) if isinstance(value, Path) else _shown(without_password(show(value)))
    return shorten(printable(text), MAX_CELL)


def _from_home(source: str) -> str:
    home = os.path.expanduser("~")  # noqa: PTH111 - text that may be no path
    return f"~{source[len(home) :]}" if source.startswith(f"{home}{os.sep}") else source


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "-"
    return value if isinstance(value, str) else show_value(value)
