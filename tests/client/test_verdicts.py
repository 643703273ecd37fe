"""What an index says of weights is taken as it is meant, or as nothing."""

from typing import Any

import pytest
from holdfast.lists.verdicts import Verdict, models_in, parse_verdict
from holdfast.sources.remote import RemoteFile
from hypothesis import given, settings
from hypothesis import strategies as st

SUM, REPORT = "a" * 64, "b" * 64


def row(**changed: Any) -> dict[str, Any]:
    newest = {"verdict": "verified", "passed": True, "report_sha256": REPORT}
    return {"sha256": SUM, "verdict": "verified", "override": None, "newest": newest, **changed}


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        (row(), Verdict("verified", True, REPORT)),
        (row(verdict="loads", newest={"passed": True}), Verdict("loads", True, None)),
        (row(newest=None, verdict="untested"), Verdict("untested", False, None)),
        (row(verdict="damaged", override={"verdict": "damaged"}), Verdict("damaged", False, REPORT)),
        (row(override={"verdict": "verified"}, newest=None), Verdict("verified", True, None)),
        (row(newest={"passed": "yes", "report_sha256": "../x"}), Verdict("verified", False, None)),
        (row(verdict="\x1b[2J"), Verdict("\\x1b[2J", True, REPORT)),
    ],
)
def test_an_operator_decides_before_the_newest_run(told: dict[str, Any], verdict: Verdict) -> None:
    assert parse_verdict(told) == (SUM, verdict)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["sha256", "newest", "override", "verdict", "passed"]), inner)
    ),
    max_leaves=8,
)


@given(anything)
@settings(max_examples=100, deadline=None)
def test_what_is_no_verdict_is_on_no_file(told: Any) -> None:
    sha256, verdict = parse_verdict(told)
    assert sha256 == ""
    assert len(verdict.verdict) <= 40


def test_shards_are_one_model_and_a_projector_is_one_of_its_own() -> None:
    paths = [
        "a-Q8_0-00001-of-00002.gguf", "a-Q8_0-00002-of-00002.gguf", "mmproj-a.gguf", "config.json",
        "model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json",
    ]  # fmt: skip
    files = [RemoteFile(path, 1, None, SUM) for path in paths]
    assert [[file.path for file in group] for group in models_in(files)] == [
        ["a-Q8_0-00001-of-00002.gguf", "a-Q8_0-00002-of-00002.gguf"],
        ["mmproj-a.gguf"],
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    ]
