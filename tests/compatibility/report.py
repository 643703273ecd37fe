"""From what pytest saw to docs/compatibility.md: counts by file, what passes, and why each other test does not."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.compatibility.reasons import reason_of

COLUMNS = ["file", "tests", "passed", "of these with our server", "not applicable", "failed"]
INTRODUCTION = """# Compatibility

huggingface_hub's own test suite, run unchanged against a Holdfast server with its default configuration. Its staging
and its production endpoint, its users and its tokens are ours. Small repos under the names of public ones that the
suite reads were made over the API before, each with no more than what a test can be seen to ask of it
(`tests/compatibility/seeding.py`). hf_xet is installed, as it is by default.

    python -m tests.compatibility CHECKOUT --python PYTHON

takes a checkout of huggingface_hub and an interpreter that has it installed, and writes this page. It was written from
huggingface_hub {version}. *With our server* are the tests during which the server answered at least one request; the
others test the client alone. *Not applicable* are tests of what is not offered here, of the public hub's own content,
or of fixed addresses, and those that the suite itself skips; *failed* are those in which we differ.

"""


@dataclass(frozen=True)
class Outcome:
    """One test. `verdict` is passed, not applicable or failed; `answers` how many the server gave meanwhile."""

    test: str
    verdict: str
    reason: str
    answers: int

    @property
    def file(self) -> str:
        return self.test.partition("::")[0]

    @property
    def group(self) -> str:
        """The class of the test, or nothing."""
        return "::".join(self.test.split("::")[1:-1])

    @property
    def name(self) -> str:
        return self.test.rpartition("::")[2]


def read_outcomes(path: Path) -> list[Outcome]:
    """Every test in the plugin's file."""
    return [judge(test, **seen) for test, seen in json.loads(path.read_text()).items()]


def judge(test: str, outcome: str, reason: str, answers: int) -> Outcome:
    """A test that did not pass is not applicable if a reason is known, else it failed."""
    test = test.removeprefix("tests/")
    if outcome == "passed":
        return Outcome(test, "passed", "", answers)
    if outcome == "skipped":
        return Outcome(
            test,
            "not applicable",
            "skipped by the suite: " + _one_line(reason.removeprefix("Skipped: ")),
            answers,
        )
    if known := reason_of(test):
        return Outcome(test, known.verdict, known.text, answers)
    return Outcome(test, "failed", _one_line(reason), answers)


def _one_line(text: str) -> str:
    """As a cell of a table can hold it."""
    return " ".join(text.split())[:160].replace("|", "/")


def write_report(outcomes: list[Outcome], version: str) -> str:
    """The whole page."""
    return (
        INTRODUCTION.format(version=version)
        + _counts(outcomes)
        + "\n## Not applicable, and failed\n\n"
        + _table(
            ["test", "verdict", "why"], ([f"`{o.test}`", o.verdict, o.reason] for o in _others(outcomes))
        )
        + "\n## Passed with our server\n\n"
        + _passes([outcome for outcome in outcomes if outcome.verdict == "passed" and outcome.answers])
    )


def _others(outcomes: list[Outcome]) -> list[Outcome]:
    return sorted(
        (o for o in outcomes if o.verdict != "passed"), key=lambda o: (o.verdict, o.file, o.reason, o.test)
    )


def _counts(outcomes: list[Outcome]) -> str:
    files = dict.fromkeys(outcome.file for outcome in outcomes)
    rows = [_row(f"`{file}`", [outcome for outcome in outcomes if outcome.file == file]) for file in files]
    return _table(COLUMNS, [*rows, _row("all", outcomes)])


def _row(name: str, outcomes: list[Outcome]) -> list[str]:
    verdicts = [outcome.verdict for outcome in outcomes]
    asked = sum(outcome.verdict == "passed" and outcome.answers > 0 for outcome in outcomes)
    numbers = [
        len(outcomes),
        verdicts.count("passed"),
        asked,
        verdicts.count("not applicable"),
        verdicts.count("failed"),
    ]
    return [name, *map(str, numbers)]


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _passes(outcomes: list[Outcome]) -> str:
    """A list of names for each class of each file."""
    lines = []
    for (file, group), tests in groupby(outcomes, key=lambda outcome: (outcome.file, outcome.group)):
        names = ", ".join(f"`{outcome.name}`" for outcome in tests)
        lines.append(f"- `{file}` {f'`{group}`' if group else ''}: {names}\n".replace(" :", ":"))
    return "".join(lines)
