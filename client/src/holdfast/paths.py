"""Names that a server gave us, before any of them touches a disk.

A listing is hostile input: `../../.ssh/authorized_keys`, `/etc/passwd`, `C:x`, `.git/hooks/post-checkout`, a name with
an escape sequence, or two names that are one file on a Mac are all refused, and nothing is written.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from holdfast.errors import UnsafePath
from holdfast.text import printable

MAX_PATH_BYTES = 1024
MAX_SEGMENT_BYTES = 255
MAX_WINDOWS_PATH = 259
_LONG_PATHS_KEY = r"SYSTEM\CurrentControlSet\Control\FileSystem"

_DRIVE = re.compile(r"^[A-Za-z]:")
_WINDOWS_RESERVED = re.compile(
    r"^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?$", re.IGNORECASE
)
_WINDOWS_FORBIDDEN = re.compile(r'[<>:"|?*]')
_DIRECTION = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def why_unsafe(path: str, *, windows: bool = os.name == "nt") -> str | None:
    """Returns the reason why a listed path must not be written, or None if it is safe below any folder."""
    segments = path.split("/")
    checks = (
        (not path or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES, "it is empty or too long"),
        (any(map(_is_control, path)), "it holds control or direction characters"),
        ("\\" in path, "it holds a backslash"),
        (path.startswith("/") or bool(_DRIVE.match(path)), "it is absolute"),
        (any(segment in ("", ".", "..") for segment in segments), "it has an empty, . or .. segment"),
        (any(segment.casefold() == ".git" for segment in segments), "it lies in a .git folder"),
        (
            any(len(s.encode("utf-8", "surrogatepass")) > MAX_SEGMENT_BYTES for s in segments),
            "a segment is too long",
        ),
        (windows and any(map(_is_bad_on_windows, segments)), "Windows reserves a name in it"),
    )
    return next((reason for bad, reason in checks if bad), None)


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs") or char in _DIRECTION


def _is_bad_on_windows(segment: str) -> bool:
    return bool(_WINDOWS_RESERVED.match(segment) or _WINDOWS_FORBIDDEN.search(segment)) or segment[-1:] in (
        " ",
        ".",
    )


def check_path(path: str, *, listed_by: str) -> str:
    """Returns the path unchanged, or raises UnsafePath naming it and who listed it."""
    reason = why_unsafe(path)
    if reason is None:
        return path
    raise UnsafePath(
        f"unsafe file name in the listing of {listed_by}: {printable(path)!r}: {reason}",
        hint="Nothing was written. Tell the operator of the index; no other file of this listing is trusted either.",
        path=path,
        reason=reason,
    )


def check_collisions(paths: Iterable[str], *, listed_by: str) -> None:
    """Raises UnsafePath if two paths, or a path and a folder, are one name where case or accents do not count."""
    seen: dict[str, str] = {}
    for path in sorted(paths):
        for name, is_file in _with_folders(path):
            other = seen.setdefault(_fold(name) + ("" if is_file else "/"), name)
            clash = other if other != name else seen.get(_fold(name) + ("/" if is_file else ""))
            if clash is not None:
                raise _collision(name, clash, listed_by)


def _with_folders(path: str) -> Iterable[tuple[str, bool]]:
    segments = path.split("/")
    for depth in range(1, len(segments)):
        yield "/".join(segments[:depth]), False
    yield path, True


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _collision(path: str, other: str, listed_by: str) -> UnsafePath:
    return UnsafePath(
        f"two names in the listing of {listed_by} are one file on many disks: "
        f"{printable(path)!r} and {printable(other)!r}",
        hint=f"Leave one out: --exclude {printable(path)!r}",
        path=path,
        other=other,
    )


def is_inside(path: Path, folder: Path) -> bool:
    """Whether the path, with every symlink above it followed, lies below the folder."""
    parent, root = path.parent.resolve(), folder.resolve()
    return parent == root or root in parent.parents


if sys.platform == "win32":
    import winreg

    def longest_path() -> int | None:
        """How long a path may be: 259 characters, or None if Windows was told to allow more and the disk will tell."""
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _LONG_PATHS_KEY) as key:
                is_long = winreg.QueryValueEx(key, "LongPathsEnabled")[0] == 1
        except OSError:
            is_long = False
        return None if is_long else MAX_WINDOWS_PATH
else:

    def longest_path() -> int | None:
        """How long a path may be; None where the disk will tell."""
        return None


def check_lengths(paths: Iterable[Path], *, limit: int | None) -> None:
    """Raises UnsafePath naming the first path that is longer than the limit, before anything is fetched for it."""
    for path in paths if limit is not None else ():
        if limit is not None and len(str(path)) > limit:
            raise UnsafePath(
                f"{printable(path)} is longer than the {limit} characters that this Windows allows",
                hint="Choose a shorter --dest or --cache-dir, or switch on LongPathsEnabled in the registry.",
                path=str(path),
            )


def leads_outside(path: str, root: Path) -> UnsafePath:
    """A symlink that lies in the destination would carry a file out of it."""
    return UnsafePath(
        f"{printable(path)} would be written outside {printable(root)}: a folder on its way is a symlink",
        hint="Remove the link, or choose another --dest. Nothing was written there.",
        path=path,
        folder=str(root),
    )
