"""Small files of a person's, replaced whole: a reader sees the old or the new, and a link stays a link."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from holdfast.errors import NotWritable
from holdfast.text import printable

PRIVATE, ORDINARY = 0o600, 0o644


def keep_text(path: Path, text: str, *, mode: int) -> None:
    """Afterwards the file holds exactly the text. `mode` is that of a new file; PRIVATE is also given to an old one.

    The bytes are never in a file that others could read before. Raises NotWritable.
    """
    real = Path(os.path.realpath(path))
    staged = real.with_name(f"{real.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        real.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if mode == PRIVATE else 0o777)
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        if mode != PRIVATE and real.exists():
            staged.chmod(real.stat().st_mode & 0o777)
        staged.replace(real)
    except OSError as error:
        raise NotWritable(
            f"cannot write {printable(path)}: {error.strerror or type(error).__name__}",
            hint="Check who owns the file and its folder, and that the disk has room.",
            path=str(path),
        ) from error
    finally:
        with suppress(OSError):
            staged.unlink()
