"""The words of `identify`: what the bytes are for the index, then what the file says of itself."""

from __future__ import annotations

from typing import Any

from holdfast.asking.headers import Header
from holdfast.asking.identifying import Identified, Known
from holdfast.text import count, format_bytes, format_count, printable

MOST_PLACES = 5


def identified_lines(one: Identified) -> list[str]:
    """A few lines about one file."""
    lines = [
        f"{printable(one.path)}: {format_bytes(one.digests.size_bytes)}",
        f"  sha256 {one.digests.sha256}",
    ]
    lines += _known_lines(one.known) if one.known else ["  no index knows these bytes"]
    if one.header is not None:
        lines.append(f"  it says: {_header_words(one.header)}")
    return lines


def _known_lines(known: Known) -> list[str]:
    shown = known.places[:MOST_PLACES]
    lines = [
        f"  is {place.repo_id}{'' if place.is_head else f'@{place.commit[:12]}'}//{printable(place.path)}"
        + (f" ({place.repo_type})" if place.repo_type != "model" else "")
        for place in shown
    ]
    more = len(known.places) - len(shown)
    lines += [f"  and {count(more, 'more place')}"] if more else []
    lines.append(f"  at {printable(known.index_url)}{_trust(known)}")
    if known.parents:
        lines.append(
            "  made from " + ", ".join(f"{name} ({how})" for name, how in known.parents[:MOST_PLACES])
        )
    return lines


def _trust(known: Known) -> str:
    verdict = f", {known.verdict}" if known.verdict else ""
    return verdict + (f", bytes last verified {known.verified_at[:10]}" if known.verified_at else "")


def _header_words(header: Header) -> str:
    facts = header.facts
    parts = [f"{header.format} {facts['version']}" if "version" in facts else header.format]
    parts += [
        str(facts[name]) for name in ("architecture", "name", "size_label", "license") if facts.get(name)
    ]
    parts += [count(facts["tensors"], "tensor")] if "tensors" in facts else []
    parts += [f"{format_count(facts['parameters'])} parameters"] if facts.get("parameters") else []
    parts += [_dtypes(facts["dtypes"])] if facts.get("dtypes") else []
    if isinstance(facts.get("context_length"), int):
        parts.append(f"{facts['context_length']:,} tokens of context")
    return ", ".join([*parts, *([header.trouble] if header.trouble else [])])


def _dtypes(dtypes: dict[str, Any]) -> str:
    return " ".join(dtypes)
