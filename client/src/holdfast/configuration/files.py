"""The configuration files: where they are, and what they say.

| scope   | Linux                                              | macOS                                                 | Windows                            |
|---------|----------------------------------------------------|-------------------------------------------------------|------------------------------------|
| system  | XDG_CONFIG_DIRS, /etc/holdfast/config.toml         | /Library/Application Support/holdfast/config.toml     | %PROGRAMDATA%/holdfast/config.toml |
| user    | XDG_CONFIG_HOME or ~/.config/holdfast/config.toml  | ~/Library/Application Support/holdfast/config.toml    | %APPDATA%/holdfast/config.toml     |
| project | models.toml, in the working folder or the nearest one above it                                                                                  |

The keys of the first two stand at the top level; those of models.toml in its table `[holdfast]`, so that the file has
room for other things. A project's file may be a stranger's: `forbidden` says what it cannot do.
"""  # noqa: E501 - a table

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.configuration.options import ANYWHERE, INSIDE, ONLY_ON, OPTIONS, Option
from holdfast.errors import UsageError
from holdfast.text import printable

SYSTEM, USER, PROJECT = "system", "user", "project"
FILE_NAME, PROJECT_NAME, PROJECT_TABLE = "config.toml", "models.toml", "holdfast"
MAX_BYTES = 256 * 1024


@dataclass(frozen=True)
class ConfigFile:
    """A file that may be there."""

    scope: str
    path: Path

    @property
    def table(self) -> str | None:
        """The table that our keys stand in; None at the top level."""
        return PROJECT_TABLE if self.scope == PROJECT else None

    def read_text(self) -> str:
        """What is in the file, empty if there is none; UsageError if it cannot be read."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise self.unusable(f"it is larger than {MAX_BYTES} bytes")
            return data.decode("utf-8-sig")
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            raise self.unusable(error.strerror or type(error).__name__) from error
        except UnicodeDecodeError as error:
            raise self.unusable("it is not UTF-8") from error

    def values(self, text: str) -> dict[str, Any]:
        """Our keys, with `-` for `_`, and their values; UsageError if the text is no TOML."""
        found = self._parse(text)
        table = found if self.table is None else found.get(self.table, {})
        if not isinstance(table, dict):
            raise self.unusable(f"{self.table} is not a table")
        return {key.replace("_", "-"): value for key, value in table.items()}

    def misplaced(self, text: str) -> list[str]:
        """Our keys where they do not count: outside their table."""
        return (
            []
            if self.table is None
            else [key for key in self._parse(text) if key.replace("_", "-") in OPTIONS]
        )

    def _parse(self, text: str) -> dict[str, Any]:
        from holdfast.configuration.toml import parse_toml

        try:
            return parse_toml(text)
        except ValueError as error:
            raise self.unusable(str(error)) from error

    def unusable(self, reason: str) -> UsageError:
        """The error for a file that is of no use."""
        return UsageError(
            f"cannot read {printable(self.path)}: {printable(reason)}",
            hint=f"Mend it (holdfast config edit --{self.scope}), or leave it out this once: --isolated.",
            path=str(self.path),
        )


def user_folder(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Where this person's configuration and tokens are kept."""
    if environ.get("XDG_CONFIG_HOME"):
        return _from_home(environ["XDG_CONFIG_HOME"]).absolute() / "holdfast"
    if platform == "win32":
        return _from_home(environ.get("APPDATA") or "~/AppData/Roaming") / "holdfast"
    return _from_home("~/Library/Application Support" if platform == "darwin" else "~/.config") / "holdfast"


def _from_home(text: str) -> Path:
    """The path with `~` put in. Whoever has no home (a container's user) has no files there, which is no error."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(os.sep) / text


def user_file(environ: Mapping[str, str]) -> ConfigFile:
    """This person's file."""
    return ConfigFile(USER, user_folder(environ) / FILE_NAME)


def system_file(environ: Mapping[str, str], platform: str = sys.platform) -> ConfigFile:
    """The file of whoever runs this machine."""
    if platform == "win32":
        return ConfigFile(
            SYSTEM, Path(environ.get("PROGRAMDATA") or "C:/ProgramData") / "holdfast" / FILE_NAME
        )
    shared = [Path(folder) for folder in environ.get("XDG_CONFIG_DIRS", "").split(":") if folder]
    usual = Path("/Library/Application Support" if platform == "darwin" else "/etc")
    files = [folder / "holdfast" / FILE_NAME for folder in (*shared, usual)]
    return ConfigFile(SYSTEM, next((file for file in files if file.is_file()), files[-1]))


def project_file(folder: Path | None) -> ConfigFile | None:
    """The nearest models.toml, in the folder or above it."""
    for above in () if folder is None else (folder, *folder.parents):
        if (above / PROJECT_NAME).is_file():
            return ConfigFile(PROJECT, above / PROJECT_NAME)
    return None


def is_planted(path: Path) -> bool:
    """Whether another user may have put the file where we would find it: in a folder that all may write to."""
    if sys.platform == "win32":
        return False
    open_to_all = path.parent.stat().st_mode & stat.S_IWOTH
    return bool(open_to_all) and path.stat().st_uid not in (0, os.geteuid())


def forbidden(option: Option, value: Any, file: ConfigFile) -> str | None:
    """Why a project's file cannot set this; None if it can."""
    if file.scope != PROJECT:
        return None
    if option.in_projects == ONLY_ON:
        return None if value else "a project can switch it on, not off"
    places = value if isinstance(value, tuple) else (value,)
    if any(str(place).startswith(("s3:", "s3+")) for place in places):
        return "a project cannot send your bucket's credentials anywhere"
    if option.in_projects == INSIDE:
        outside = [place for place in places if not _is_inside(place, file.path.parent)]
        return "a project cannot name a place outside its own folder" if outside else None
    return None if option.in_projects == ANYWHERE else "that is for you to say, not for a project"


def _is_inside(place: object, folder: Path) -> bool:
    if str(place).startswith(("http://", "https://")):
        return True
    real, inside = os.path.realpath(str(place)), os.path.realpath(folder)
    return real == inside or real.startswith(inside.rstrip(os.sep) + os.sep)


def unknown_key(key: str, value: Any, file: ConfigFile) -> str:
    """The warning about a key that means nothing here."""
    from difflib import get_close_matches

    near = get_close_matches(key, OPTIONS, n=1)
    advice = f"; did you mean {near[0]}?" if near else ""
    if "token" in key or "password" in key:
        advice = "; secrets do not belong here, holdfast login keeps them"
    elif key == PROJECT_TABLE:
        advice = "; keys stand at the top level of this file"
    kind = "table" if isinstance(value, dict) else "key"
    return f"{printable(file.path)}: unknown {kind} {printable(key)}, ignored{advice}"


def files_that_count(environ: Mapping[str, str], folder: Path | None) -> Iterator[ConfigFile]:
    """The files in the order in which they win. The nearest models.toml is the only one that counts."""
    project = project_file(folder)
    if project is not None:
        yield project
    yield user_file(environ)
    yield system_file(environ)
