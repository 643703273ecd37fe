from datetime import UTC, datetime, timedelta

import pytest

from registry.templatetags.humane import (
    digest,
    duration,
    figure,
    grouped,
    percent,
    roughly,
    shape,
    signed_percent,
    size,
    state,
    words_of_bytes,
    words_of_count,
    words_of_time,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (4_976_698_672, "4.98 GB"), (999_999, "1.00 MB"),
     (16_060_556_376, "16.1 GB"), (612_400_000_000_000, "612 TB"), (5 * 10**18, "5000 PB")],
)  # fmt: skip
def test_bytes_are_told_in_three_figures(n_bytes: int, words: str) -> None:
    assert words_of_bytes(n_bytes) == words


def test_the_exact_size_is_on_hover() -> None:
    assert size(1234567) == '<data value="1234567" title="1\u202f234\u202f567 bytes">1.23 MB</data>'
    assert size(None) == ""


def test_parameters_are_counted_as_the_field_counts_them() -> None:
    assert [words_of_count(n) for n in (512, 135_000_000, 8_030_261_248)] == ["512", "135 M", "8.03 B"]


@pytest.mark.parametrize(
    ("age", "words"),
    [(timedelta(seconds=5), "just now"), (timedelta(minutes=1), "1 minute ago"), (timedelta(hours=5), "5 hours ago"),
     (timedelta(days=3), "3 days ago"), (timedelta(days=20), "1 Nov 2026"), (timedelta(days=-2), "23 Nov 2026")],
)  # fmt: skip
def test_recent_times_are_told_by_age_and_others_by_date(age: timedelta, words: str) -> None:
    assert words_of_time(NOW - age, NOW) == words


def test_durations_are_as_exact_as_they_need_to_be() -> None:
    assert [duration(s) for s in (None, "", 0.0, 0.21, 41, 848, 3720, 90_000)] == [
        "", "", "under 0.1 s", "0.2 s", "41 s", "14 min 08 s", "1 h 02 min", "1 d 1 h",
    ]  # fmt: skip
    assert [roughly(s) for s in (8, 60, 1980, 7200, 200_000)] == ["8 s", "60 s", "33 min", "2 h", "2 d"]


def test_a_ratio_is_told_as_change() -> None:
    assert [signed_percent(r) for r in (None, 1.0005, 1.00001, 1.029, 0.999, 12.0, 50_000.0)] == [
        "", "+0.05\u202f%", "0.00\u202f%", "+2.9\u202f%", "\u22120.10\u202f%", "12 ×", "over 10⁴ ×",
    ]  # fmt: skip


def test_figures_avoid_exponents_that_people_avoid() -> None:
    assert [figure(v) for v in (None, 0.0, 0.0314159, 4.9, 0.0000123, 12_345.6)] == [
        "", "0", "0.0314", "4.90", "1.2 × 10⁻⁵", "12\u202f346",
    ]  # fmt: skip
    assert percent(0.919) == "91.9\u202f%"


def test_shapes_and_digests_stay_readable() -> None:
    assert shape([14336, 4096]) == "14\u202f336 × 4\u202f096"
    assert shape([]) == "scalar"
    assert digest("ab" * 32) == f'<code class="digest" title="{"ab" * 32}">abababababab…</code>'
    assert grouped(None) == ""


def test_a_state_has_a_word_and_a_shape_and_escapes_its_label() -> None:
    shown = state("damaged", "<b>")
    assert 'data-v="damaged"' in shown
    assert "#i-damaged" in shown
    assert "&lt;b&gt;" in shown
