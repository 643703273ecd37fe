"""Files that lie anywhere on this machine, hashed as they are."""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import NotFound, Unreadable
from holdfast.fetching.hashing import Digests, hash_file
from holdfast.text import printable


def hash_local(path: Path) -> Digests:
    """sha256 and git oid of a file. Raises NotFound, or Unreadable for a folder and for what may not be read."""
    try:
        if not path.is_file():
            raise _no_file(path)
        return hash_file(path, with_git=True)
    except OSError as error:
        raise Unreadable(
            f"cannot read {printable(path)}: {error.strerror or error}",
            hint="Check who may read it, and the disk.",
            path=str(path),
        ) from error


def _no_file(path: Path) -> Exception:
    if path.exists():
        return Unreadable(f"not a file: {printable(path)}", hint="Name the files in it.", path=str(path))
    return NotFound(f"no such file: {printable(path)}", hint="Check the spelling.", path=str(path))
