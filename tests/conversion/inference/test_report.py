import json
import math

import pytest

from conversion.inference.engine import EngineReport
from conversion.inference.report import CHECKS, Report, canonical_json
from conversion.inference.table import report_lines


def report_with(**verdicts):
    report = Report(artifact={})
    for name, verdict in verdicts.items():
        report.checks[name].verdict, _, report.checks[name].code = verdict.partition(":")
        report.checks[name].summary = f"{name} said {verdict}"
    return report


PASSED = dict.fromkeys(["integrity", "completeness", "tensors", "tokenizer", "load", "forward"], "pass")


@pytest.mark.parametrize(("checks", "verdict"), [
    ({**PASSED, "fidelity": "pass"}, "verified"),
    ({**PASSED, "fidelity": "warn"}, "verified"),
    (PASSED, "loads"),
    ({"integrity": "pass", "tensors": "pass"}, "partial"),
    ({}, "untested"),
    ({"integrity": "fail"}, "damaged"),
    ({"integrity": "fail:gguf-magic"}, "damaged"),
    ({**PASSED, "fidelity": "fail"}, "damaged"),
    ({"tensors": "pass", "load": "fail:unsupported-architecture"}, "unsupported"),
    ({"tensors": "pass", "load": "fail:engine-crashed"}, "damaged"),
    ({"tensors": "pass", "load": "error:engine-out-of-memory"}, "partial"),
    ({"tensors": "pass", "load": "error:engine-missing"}, "untested"),
    ({"tensors": "pass", "load": "error:engine-mismatch"}, "untested"),
    ({**PASSED, "fidelity": "error:parent-not-run"}, "untested"),
])  # fmt: skip
def test_the_verdict_follows_from_the_checks(checks, verdict):
    assert report_with(**checks).verdict == verdict


def test_the_reason_is_that_of_the_first_failure():
    assert report_with(integrity="pass", tensors="fail", load="fail").reason == "tensors said fail"
    assert report_with(**PASSED, fidelity="warn").reason == "fidelity said warn"
    assert report_with().reason == "nothing was tested"


def test_a_report_survives_json_and_becomes_lines():
    report = report_with(**PASSED, fidelity="fail")
    report.engines["artifact"] = EngineReport("llama.cpp", "xllamacpp", "1", cpu_features=("AVX2",))
    copied = json.loads(json.dumps(report.as_json()))
    assert copied["verdict"] == "damaged"
    assert [check["id"] for check in copied["checks"]] == CHECKS
    lines = list(report_lines(copied))
    assert any(line.startswith("  FAIL  fidelity") for line in lines)
    assert lines[-1].startswith("DAMAGED: fidelity said fail")


def test_a_report_has_one_spelling_whatever_is_in_it():
    report = report_with(**PASSED)
    report.artifact = {"b": 1e-5, "a": math.inf, "ü": "\ud800 and 語", "n": (0.1, 2)}
    spelled = canonical_json(report.as_json())
    assert canonical_json(json.loads(spelled)) == spelled
    assert (
        b'"artifact":{"a":null,"b":1e-05,"n":[0.1,2],"\xc3\xbc":"\xef\xbf\xbd and \xe8\xaa\x9e"}' in spelled
    )
    assert spelled.startswith(b'{"artifact":')


def test_what_a_hostile_file_says_fits_a_table():
    """PostgreSQL holds no NUL in a text, and JSON no infinity."""
    report = Report({"size_bytes": 1, "architecture": "a\0b"})
    report.checks["tensors"].warn("odd", {"largest": float("inf"), "name": "x\0"})
    kept = json.loads(canonical_json(report.as_json()))
    assert kept["artifact"]["architecture"] == "a\ufffdb"
    assert "\0" not in json.dumps(kept, ensure_ascii=False)


def test_a_partial_verdict_says_how_far_it_reaches():
    assert report_with(integrity="pass", tensors="pass").as_json()["level"] == "tensors"
    assert report_with(**PASSED).as_json()["level"] == ""
