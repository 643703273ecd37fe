"""What an index tells, one value at a time: what is not of its kind counts as not told, and every text is printable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.text import printable

MAX_TEXT = 300
MAX_ITEMS = 1000


def as_dict(value: object) -> Mapping[str, Any]:
    """The object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str | None:
    """A text that is not empty, cut to a few lines' length and printable; None for anything else."""
    return printable(value[:MAX_TEXT]) if isinstance(value, str) and value else None


def texts(value: object) -> tuple[str, ...]:
    """A text, or the texts of a list."""
    values: Sequence[object] = value[:MAX_ITEMS] if isinstance(value, list) else [value]
    return tuple(one for one in map(text, values) if one is not None)


def number(value: object) -> int | None:
    """A count above zero; None for anything else."""
    return value if type(value) is int and 0 < value < 1 << 60 else None
