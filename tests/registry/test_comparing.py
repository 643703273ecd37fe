"""What changed from one report to the next, and when their figures must not be compared."""

from typing import Any

import pytest

from registry.comparing import compare_reports

pytestmark = pytest.mark.one_backend


def report(**changes: Any) -> dict[str, Any]:
    return {
        "verdict": "verified",
        "engines": {
            "artifact": {"name": "llama.cpp", "package": "xllamacpp", "version": "1", "library_sha256": "ab" * 32}
        },
        "limits": {"version": 2, "class": "4 bit"},
        "parent": {"repo_id": "acme/base", "commit_hash": "cd" * 20, "reference": "in llama.cpp"},
        "texts": {"prose.txt": "11"},
        "checks": [{"id": "load", "verdict": "pass"}, {"id": "fidelity", "verdict": "pass"}],
        "figures": {"n_positions": 1524, "mean_kld": 0.01, "top1_agreement": 0.95},
    } | changes  # fmt: skip


def test_the_same_report_on_another_processor_changed_nothing() -> None:
    figures = {"n_positions": 1524, "mean_kld": 0.01 * (1 + 1e-7), "top1_agreement": 0.95}
    found = compare_reports(report(), report(figures=figures))
    assert (found.changes, found.is_comparable) == ((), True)


def test_a_verdict_that_fell_names_the_check_and_the_engine() -> None:
    engine = {"name": "llama.cpp", "package": "xllamacpp", "version": "2", "library_sha256": "cd" * 32}
    after = report(
        verdict="damaged", engines={"artifact": engine},
        checks=[{"id": "load", "verdict": "fail"}, {"id": "new", "verdict": "pass"}], figures=None,
    )  # fmt: skip
    found = compare_reports(report(), after)
    assert [(change.name, change.before, change.after) for change in found.changes] == [
        ("verdict", "verified", "damaged"),
        ("engine", "llama.cpp xllamacpp 1 abababababab", "llama.cpp xllamacpp 2 cdcdcdcdcdcd"),
        ("checks.load", "pass", "fail"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({"parent": {"repo_id": "acme/base", "commit_hash": "ef" * 20}}, "different parents"),
        ({"texts": {"prose.txt": "22"}}, "different texts"),
        ({"figures": {"n_positions": 99, "mean_kld": 0.01}}, "1,524 positions, the other 99"),
    ],
)
def test_figures_of_other_things_are_not_comparable(changes: dict[str, Any], obstacle: str) -> None:
    assert obstacle in "; ".join(compare_reports(report(), report(**changes)).obstacles)


@pytest.mark.parametrize(
    "odd", [{}, {"checks": None, "figures": None, "engines": {"artifact": "x"}, "limits": 3}]
)
def test_reports_of_another_schema_are_compared_as_far_as_they_go(odd: dict[str, Any]) -> None:
    compare_reports(odd, report())
    compare_reports(report(), odd)
