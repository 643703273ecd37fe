"""Sizes, times and foreign text, as one line of a terminal can show them."""

from __future__ import annotations

import re
import unicodedata

UNITS = ("kB", "MB", "GB", "TB", "PB")


def printable(text: object) -> str:
    """The text with every control, format and unassigned character spelled out, so that no server moves our cursor."""
    return "".join(char if _is_plain(char) else _spell_out(char) for char in str(text))


def _is_plain(char: str) -> bool:
    return (char.isascii() and char.isprintable()) or unicodedata.category(char)[0] not in "CZ"


def _spell_out(char: str) -> str:
    point = ord(char)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def format_bytes(size_bytes: float) -> str:
    """Decimal units with one digit, as disks and hubs count: `4.9 GB`."""
    if abs(size_bytes) < 1000:
        return f"{int(size_bytes)} B"
    value = float(size_bytes)
    for unit in UNITS:
        value /= 1000
        if abs(value) < 999.95 or unit == UNITS[-1]:
            break
    return f"{value:.1f} {unit}"


def parse_bytes(text: str) -> int:
    """The number of bytes in `500000`, `500k`, `10M`, `1.5 GB`, `200GiB`. Raises ValueError; zero is no size."""
    match = re.fullmatch(
        r"(\d{1,18})(\.\d{1,6})?\s*(?:([kmgtp])(i)?)?b?", text.strip(), re.ASCII | re.IGNORECASE
    )
    if match is None:
        raise ValueError("is not a number of bytes", "write for example 500000, 500k, 10M or 200G")
    whole, fraction, unit, binary = match.groups()
    factor: int = (1024 if binary else 1000) ** ("kmgtp".index(unit.lower()) + 1 if unit else 0)
    size = int(whole) * factor + int(float(fraction or 0) * factor)
    if size == 0:
        raise ValueError("is no number of bytes above zero", "leave it out for no limit")
    return size


def format_count(n: int) -> str:
    """A large number with two or three digits, as models are named: `7.2B`, `494M`, `1.1T`."""
    value, unit = float(n), ""
    for unit in ("", "K", "M", "B", "T"):
        if value < 999.5 or unit == "T":
            break
        value /= 1000
    return f"{value:.0f}{unit}" if value >= 99.5 or not unit else f"{value:.1f}{unit}"


def format_seconds(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3:05`, `2:03:05`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def count(n: int, noun: str) -> str:
    """`1 file`, `12 files`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def shorten(text: str, width: int) -> str:
    """The text in at most `width` columns, cut in the middle because both ends of a path tell."""
    if len(text) <= width:
        return text
    keep = max(width - 1, 2)
    tail = keep * 2 // 3
    return f"{text[: keep - tail]}…{text[-tail:]}"
