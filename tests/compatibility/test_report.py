"""docs/compatibility.md adds up, and says of every test that does not pass why."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.compatibility.report import COLUMNS, judge, write_report

pytestmark = pytest.mark.one_backend

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "compatibility.md").read_text()
LEAST = 180
"""Tests of huggingface_hub's suite that ask our server and pass."""


def cells(heading: str) -> list[list[str]]:
    """The rows of the table that begins with these columns."""
    table = PAGE.partition(f"| {heading} |\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


@pytest.fixture
def counts() -> dict[str, list[int]]:
    return {row[0]: [int(cell) for cell in row[1:]] for row in cells(" | ".join(COLUMNS))}


def test_the_table_of_counts_adds_up(counts: dict[str, list[int]]) -> None:
    everything = counts.pop("all")
    assert [sum(column) for column in zip(*counts.values(), strict=True)] == everything
    for n_tests, n_passed, n_asked, n_inapplicable, n_failed in counts.values():
        assert n_tests == n_passed + n_inapplicable + n_failed
        assert n_asked <= n_passed


def test_as_many_tests_pass_with_our_server_as_are_named(counts: dict[str, list[int]]) -> None:
    listed = PAGE.partition("## Passed with our server")[2]
    assert len(re.findall(r"`test_\w+(?:\[.*?\])?`(?=,|\n)", listed)) == counts["all"][2] >= LEAST


def test_every_other_test_has_its_line_and_a_reason(counts: dict[str, list[int]]) -> None:
    rows = cells("test | verdict | why")
    verdicts = Counter(row[1] for row in rows)
    assert (verdicts["not applicable"], verdicts["failed"]) == (counts["all"][3], counts["all"][4])
    assert all(reason for *_, reason in rows)


def test_a_report_names_what_passed_and_why_the_others_did_not() -> None:
    page = write_report(
        [
            judge("tests/test_hf_api.py::TestA::test_asks", "passed", "", 3),
            judge("tests/test_hf_api.py::TestA::test_alone", "passed", "", 0),
            judge("tests/test_hf_api.py::TestWebhookApi::test_get_webhook", "failed", "404", 1),
            judge("tests/test_hf_api.py::TestA::test_new", "failed", "a |\nb", 1),
        ],
        "1.0",
    )
    assert "| `test_hf_api.py` | 4 | 2 | 1 | 1 | 1 |" in page
    assert (
        "| `test_hf_api.py::TestWebhookApi::test_get_webhook` | not applicable | there are no webhooks here |"
        in page
    )
    assert "| `test_hf_api.py::TestA::test_new` | failed | a / b |" in page
    assert "- `test_hf_api.py` `TestA`: `test_asks`\n" in page
