"""Stretches of a file that are still to come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(eq=False)
class Span:
    """Bytes [position, end) still to come; up to `claimed` they belong to the stream that is reading."""

    position: int
    end: int
    claimed: int


def joined(spans: Iterable[Span]) -> list[Span]:
    """Spans that nobody is at, last first, neighbours as one."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: -span.position):
        if found and span.end == found[-1].position:
            found[-1] = Span(span.position, found[-1].end, span.position)
        else:
            found.append(span)
    return found
