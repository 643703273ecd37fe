"""Sizes, counts, times, digests and states as people read them, with the exact value beside or on hover."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

THIN = "\u202f"  # narrow no-break space: parts thousands, never wraps
NOTHING: tuple[Any, ...] = (None, "")  # the second is what a template makes of a missing name
RECENT = timedelta(days=14)  # younger times are told as "3 days ago"

# state -> symbol of templates/_icons.html
ICONS = {
    "pass": "verified", "succeeded": "verified", "warn": "changed", "fail": "damaged", "failed": "damaged",
    "error": "damaged", "skipped": "unsupported", "cancelled": "unsupported", "unvalidated": "untested",
}  # fmt: skip


@register.filter
def grouped(number: Any) -> str:
    """1284 as `1 284`, parted by narrow no-break spaces."""
    return "" if number in NOTHING else f"{number:,}".replace(",", THIN)


def scaled(number: float, units: list[str], *, base: float = 1000) -> str:
    """Three significant figures and the largest unit that leaves a number of at least 1."""
    value, rest = float(number), list(units)
    while len(rest) > 1 and value >= base * 0.9995:
        value, rest = value / base, rest[1:]
    if len(rest) == len(units) and float(number).is_integer():
        return f"{int(number)} {rest[0]}".rstrip()
    digits = max(0, 2 - (len(str(int(value))) - 1))
    return f"{value:.{digits}f} {rest[0]}".rstrip()


def words_of_bytes(n_bytes: int) -> str:
    """4976698672 as `4.98 GB`."""
    return scaled(n_bytes, ["B", "kB", "MB", "GB", "TB", "PB"])


def words_of_count(number: int) -> str:
    """8030261248 as `8.03 B`, as the field counts parameters."""
    return scaled(number, ["", "K", "M", "B", "T"])


@register.simple_tag
def size(n_bytes: int | None) -> str | SafeString:
    """Bytes in words, exact on hover; empty for None."""
    if n_bytes is None:
        return ""
    return format_html(
        '<data value="{}" title="{} bytes">{}</data>', n_bytes, grouped(n_bytes), words_of_bytes(n_bytes)
    )


@register.simple_tag
def exact_size(n_bytes: int) -> SafeString:
    """Bytes to the last one, in words on hover."""
    return format_html(
        '<data value="{}" title="{}">{}</data>', n_bytes, words_of_bytes(n_bytes), grouped(n_bytes)
    )


@register.simple_tag
def count(number: int | None) -> str | SafeString:
    """A large count in words (`8.03 B`), exact on hover; empty for None."""
    if number is None:
        return ""
    return format_html(
        '<data value="{}" title="{}">{}</data>', number, grouped(number), words_of_count(number)
    )


@register.filter
def n_of(number: int, words: str) -> str:
    """`3|n_of:"file files"` is `3 files`."""
    singular, plural = words.split(" ", 1)
    return f"{grouped(number)} {singular if number == 1 else plural}"


def words_of_time(moment: datetime, now: datetime) -> str:
    """`12 minutes ago` while it is recent, `24 Jul 2024` afterwards."""
    age = now - moment
    if age < timedelta(0) or age >= RECENT:
        return f"{moment.day} {moment:%b %Y}"
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if number := int(age.total_seconds() // seconds):
            return f"{number} {unit}{'' if number == 1 else 's'} ago"
    return "just now"


@register.simple_tag
def when(moment: datetime | None, otherwise: str = "") -> str | SafeString:
    """A time in words, to the second on hover; `otherwise` for None."""
    if moment is None:
        return otherwise
    moment = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>', moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        moment.strftime("%Y-%m-%d %H:%M:%S"), words_of_time(moment, timezone.now()),
    )  # fmt: skip


@register.simple_tag
def clock(moment: datetime) -> SafeString:
    """The time of day, to the second, in UTC; the date on hover."""
    moment = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>', moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        moment.strftime("%Y-%m-%d %H:%M:%S"), moment.strftime("%H:%M:%S"),
    )  # fmt: skip


@register.filter
def duration(seconds: Any) -> str:
    """`14 min 08 s`; empty for None."""
    if seconds in NOTHING:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "under 0.1 s"
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600, whole // 60
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


@register.filter
def roughly(seconds: Any) -> str:
    """A guess at a duration, no more exact than it is: `33 min`."""
    if seconds in NOTHING:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{round(seconds / length)} {unit}"
    return f"{round(seconds)} s"


@register.simple_tag
def digest(value: str | None, length: int = 12) -> str | SafeString:
    """The first characters of a digest; the whole of it on hover. Empty for None."""
    if not value:
        return ""
    shown = value if len(value) <= length else value[:length] + "…"
    return format_html('<code class="digest" title="{}">{}</code>', value, shown)


@register.simple_tag
def icon(name: str) -> SafeString:
    """A shape of templates/_icons.html, at its size also where the stylesheet does not load."""
    return format_html(
        '<svg class="icon" width="16" height="16" aria-hidden="true"><use href="#i-{}"/></svg>', name
    )


@register.simple_tag
def state(value: str, label: str | SafeString = "") -> SafeString:
    """A state as a word, a shape and a hue: the only way to show one."""
    words = label or {"untested": "Not tested", "unvalidated": "Not tested"}.get(value, value.capitalize())
    return format_html(
        '<span class="state" data-v="{}">{}{}</span>', value, icon(ICONS.get(value, value)), words
    )


@register.filter
def shape(dimensions: list[int]) -> str:
    """`14 336 × 4 096`; a scalar says so."""
    return " × ".join(grouped(dimension) for dimension in dimensions) or "scalar"


@register.filter
def percent(share: Any, digits: int = 1) -> str:
    """0.919 as `91.9 %`; empty for None."""
    return "" if share in NOTHING else f"{100 * share:.{digits}f}{THIN}%"


@register.filter
def signed_percent(ratio: Any) -> str:
    """A ratio of 1.029 as `+2.9 %`: how much more it is than 1. Empty for None."""
    if ratio in NOTHING:
        return ""
    change = 100 * (ratio - 1)
    if ratio >= 10:
        return f"{grouped(round(ratio))} ×" if ratio < 10_000 else "over 10⁴ ×"
    if abs(change) < 0.005:
        return f"0.00{THIN}%"
    digits = 1 if abs(change) >= 1 else 2
    return f"{change:+.{digits}f}{THIN}%".replace("-", "\u2212")


@register.filter
def told(value: Any) -> str:
    """Whatever a report holds: a number with its figures, anything else as it is written."""
    return figure(value) if isinstance(value, float) else str(value)


@register.filter
def figure(value: Any) -> str:
    """A measured number with three significant figures, without exponents where people avoid them."""
    if value in NOTHING:
        return ""
    if value == 0:
        return "0"
    if abs(value) < 1e-4 or abs(value) >= 1e6:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}".replace("-", "\u2212")
    if abs(value) >= 1000:
        return grouped(round(value))
    digits = 1 if abs(value) >= 100 else 2
    return (f"{value:.{digits}f}" if abs(value) >= 1 else f"{value:.3g}").replace("-", "\u2212")


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
