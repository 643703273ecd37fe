"""Spans that lie side by side become one, and are taken front first."""

from holdfast.fetching.spans import Span, joined


def ends(spans: list[Span]) -> list[tuple[int, int]]:
    return [(span.position, span.end) for span in spans]


def test_neighbours_are_joined_and_gaps_stay() -> None:
    found = joined([Span(20, 30, 20), Span(0, 10, 0), Span(10, 20, 10), Span(40, 50, 40)])
    assert ends(found) == [(40, 50), (0, 30)]
    assert all(span.claimed == span.position for span in found)
    assert joined([]) == []
