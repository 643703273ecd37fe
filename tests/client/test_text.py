"""Sizes, times and foreign text on one line."""

import pytest
from holdfast.output import table
from holdfast.text import count, format_bytes, format_seconds, printable, shorten
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
     (4_920_000_000, "4.9 GB"), (10**15, "1.0 PB"), (10**19, "10000.0 PB")],
)  # fmt: skip
def test_bytes_are_counted_as_disks_are_sold(size: int, shown: str) -> None:
    assert format_bytes(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.44, "0.4 s"), (42.4, "42 s"), (185, "3:05"), (7385, "2:03:05")]
)
def test_times_read_like_a_clock(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown


def test_counts_know_their_plural() -> None:
    assert (count(1, "file"), count(0, "file"), count(1200, "file")) == ("1 file", "0 files", "1,200 files")


@given(st.text())
def test_nothing_printable_can_move_the_cursor(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text(alphabet="abc/é日", max_size=80), st.integers(10, 40))
def test_shortened_text_fits(text: str, width: int) -> None:
    assert len(shorten(text, width)) <= width
    assert shorten(text, 200) == text


def test_a_table_fits_the_terminal_by_its_flexible_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = table(("A", "B", "EMPTY"), [("x" * 60, "1", ""), ("y", "22", "")], right=(1,))
    assert max(map(len, lines)) <= 40
    assert lines[0].split() == ["A", "B"]
