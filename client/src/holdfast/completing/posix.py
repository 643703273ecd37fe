"""What bash and zsh share: quoting, and the patterns of their `case`."""

from __future__ import annotations

from holdfast.completing.spots import Spot


def quoted(text: str) -> str:
    """For a POSIX shell and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def patterns(spot: Spot) -> str:
    """What the script has read when it comes to this spot."""
    return "|".join(quoted(f"{spot.above} {way}") for way in spot.ways)


def quoted_after(at: str, name: str) -> str:
    """The pattern of a flag at a spot, or at any."""
    return f"*{quoted(' ' + name)}" if at == "*" else quoted(f"{at} {name}")
