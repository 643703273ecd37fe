"""TOML: by the library of Python, or by tomli, which is the same code, before Python 3.11. Imported when needed."""

from __future__ import annotations

import sys
from typing import Any


def parse_toml(text: str) -> dict[str, Any]:
    """What the text says, or ValueError with the line and column."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]
    try:
        found: dict[str, Any] = tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return found
