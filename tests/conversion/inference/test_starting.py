"""What engines take to start is told in every report, self-tests and children alike, and counted once."""

import time

from conversion.inference.judge import judge
from conversion.inference.starting import counting_starts, starting


def pause():
    """Longer than the clock's grain; the figures below are compared with each other only."""
    end = time.perf_counter() + 0.01
    while time.perf_counter() < end:
        pass


def test_a_start_within_a_start_is_counted_once():
    with counting_starts() as starts:
        with starting():
            with starting(n_children=1):
                pause()
            pause()
        pause()
    assert starts.n_children == 1
    assert 0.02 <= starts.seconds < 0.03


def test_who_counts_around_a_judgement_hears_of_its_starts():
    with counting_starts() as outer:
        with counting_starts() as inner, starting(n_children=1):
            pause()
        with starting(n_children=1):
            pause()
    assert (inner.n_children, outer.n_children) == (1, 2)
    assert outer.seconds > inner.seconds > 0


def test_nobody_need_count():
    with starting(n_children=1):
        pass


def test_a_report_says_what_starting_took(converted):
    cost = judge(converted("Q8_0")).checks["cost"].value
    assert cost["starts"]["n_children"] >= 2
    assert 0 < cost["starts"]["seconds"] < 60
