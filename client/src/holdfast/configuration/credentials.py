"""The tokens that `holdfast login` keeps: one for each index, in a file that only its owner can read.

    {"https://models.example": {"user": "ada", "token": "hf_…"}}

The key is scheme, host and port: a token is for that place and is sent to no other.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.cache.locks import locked
from holdfast.configuration.files import user_folder
from holdfast.configuration.keeping import PRIVATE, keep_text
from holdfast.errors import UsageError
from holdfast.fetching.disk import disk_errors
from holdfast.network.urls import Origin, origin, show_origin
from holdfast.text import printable

FILE_NAME = "tokens.json"
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Login:
    """A token that is kept, and whose it was when it was checked."""

    user: str
    token: str


def tokens_file(environ: Mapping[str, str]) -> Path:
    """Where the tokens are kept."""
    return user_folder(environ) / FILE_NAME


def read_logins(path: Path) -> dict[Origin, Login]:
    """Every token that is kept. UsageError, which shows none of them, if the file makes no sense."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_BYTES))
        return {origin(place): _login(place, entry) for place, entry in found.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _unusable(path, error.strerror or type(error).__name__) from None
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError, UsageError):
        raise _unusable(path, "it is not what holdfast login wrote") from None


def _login(place: str, entry: Mapping[str, Any]) -> Login:
    return Login(str(entry["user"]), clean_token(f"the entry {printable(place)}", str(entry["token"])))


def _unusable(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"cannot read the tokens in {printable(path)}: {reason}",
        hint="holdfast logout --all removes the file; then log in again.",
        path=str(path),
    )


def keep_login(path: Path, index_url: str, login: Login) -> None:
    """Afterwards the token is kept for the index, beside those of others. Raises UsageError, NotWritable."""
    with _alone(path):
        _write(path, {**read_logins(path), origin(index_url): login})


def drop_login(path: Path, index_url: str) -> bool:
    """Afterwards no token is kept for the index. False if there was none."""
    if not path.exists():
        return False
    with _alone(path):
        logins = read_logins(path)
        if logins.pop(origin(index_url), None) is None:
            return False
        _write(path, logins)
    return True


def drop_all(path: Path) -> bool:
    """Afterwards no token is kept, whatever the file held. False if there was no file."""
    if not path.exists():
        return False
    with disk_errors(path):
        path.unlink()
    return True


def _write(path: Path, logins: Mapping[Origin, Login]) -> None:
    entries = {show_origin(place): {"user": one.user, "token": one.token} for place, one in logins.items()}
    keep_text(path, json.dumps(entries, indent=2, sort_keys=True) + "\n", mode=PRIVATE)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two logins at once both count."""
    with disk_errors(path), locked(path.with_name(f"{path.name}.lock"), on_wait=lambda: None):
        yield


def others_may_read(path: Path) -> bool:
    """Whether the tokens lie open to other users of this machine."""
    try:
        return (
            sys.platform != "win32"
            and bool(path.stat().st_mode & 0o077)
            and path.stat().st_uid == os.getuid()
        )
    except OSError:
        return False


def clean_token(named: str, value: str) -> str:
    """The token without spaces around it, or UsageError: what it holds goes into a header."""
    token = value.strip()
    if not token or not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(
            f"the token in {named} is empty or holds spaces or control characters", hint="set it again"
        )
    return token
