"""The table of a search: as many columns as the terminal has room for, beside names that can be copied whole."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.asking.searching import Found
from holdfast.output import table, width
from holdfast.text import format_count, printable, shorten

HEADS = ("REPO", "PARAMS", "TASK", "LICENCE", "WEIGHTS", "VERDICT", "CHANGED", "INDEX")
IN_ORDER_OF_NEED = (7, 5, 1, 4, 3, 2, 6)
RIGHT = (1,)


def found_lines(models: Sequence[Found], *, names_only: bool) -> list[str]:
    """The table of a page, or under -q only the names."""
    if names_only or not models:
        return [model.repo_id for model in models]
    several = len({model.index_url for model in models}) > 1
    rows = [_row(model, with_index=several) for model in models]
    shown = _columns_that_fit(rows)
    cut = [[row[n] for n in shown] for row in rows]
    return table(
        [HEADS[n] for n in shown], cut, right=[at for at, n in enumerate(shown) if n in RIGHT], flexible=0
    )


def _columns_that_fit(rows: Sequence[Sequence[str]]) -> list[int]:
    """REPO, and of the others the most needed that fit; each in its place."""
    shown, room = [0], width() - max(len(row[0]) for row in rows)
    for n in IN_ORDER_OF_NEED:
        columns = max(len(row[n]) for row in rows)
        needed = max(columns, len(HEADS[n])) + 2
        if columns and needed <= room:
            shown.append(n)
            room -= needed
    return sorted(shown)


def _row(model: Found, *, with_index: bool) -> tuple[str, ...]:
    verdict = "" if model.verdict in (None, "untested") else str(model.verdict)
    return (
        model.repo_id,
        format_count(model.parameter_count) if model.parameter_count else "",
        shorten(printable(model.task or ""), 20),
        shorten(printable(model.licence or ""), 20),
        shorten(printable(_weights(model)), 24),
        "gone upstream" if model.upstream_gone else shorten(printable(verdict), 12),
        printable((model.modified or "")[:10]),
        shorten(printable(model.index_url), 30) if with_index else "",
    )


def _weights(model: Found) -> str:
    """The types, of many the first; the formats where no types are known."""
    names = model.quantizations or model.formats
    return " ".join(names[:2]) + (f" +{len(names) - 2}" if len(names) > 2 else "")
