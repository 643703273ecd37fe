"""A pytest plugin for huggingface_hub's own suite: its endpoint, users and tokens become those of our server.

Loaded by `pytest -p pointing` in the interpreter that the suite runs in, where nothing of ours can be imported: this
folder is on its PYTHONPATH. HOLDFAST_SUITE names a JSON file with what to point at and where to write the outcomes.
Both endpoints of the suite, staging and production, are our server: a test that reads a famous public repo finds it
if it was seeded, and otherwise fails in our words and not for want of a network.
"""

import importlib
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

SUITE = json.loads(Path(os.environ["HOLDFAST_SUITE"]).read_text())
ENDPOINT: str = SUITE["constants"]["ENDPOINT_STAGING"]

os.environ |= {"HF_ENDPOINT": ENDPOINT, "HUGGINGFACE_CO_STAGING": "1"}


def _point_library() -> None:
    """Before any other module of the library copies its constants."""
    constants = importlib.import_module("huggingface_hub.constants")
    constants.ENDPOINT = constants._HF_DEFAULT_STAGING_ENDPOINT = ENDPOINT
    constants.HUGGINGFACE_CO_URL_TEMPLATE = ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}"


def _point_suite() -> None:
    """Before conftest.py and the tests import names from it."""
    constants = importlib.import_module("tests.testing_constants")
    for name, value in SUITE["constants"].items():
        setattr(constants, name, value)


_point_library()
_point_suite()


class Outcomes:
    """What became of every test, and how many answers of our server it had."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}
        self.answers = 0

    def note(self, report: pytest.TestReport) -> None:
        """A test passes if its body did, and neither what comes before nor after failed."""
        test = self.tests.setdefault(report.nodeid, {"outcome": "passed", "reason": "", "answers": 0})
        if report.outcome != "passed" and test["outcome"] == "passed":
            test["outcome"], test["reason"] = report.outcome, _reason(report)


OUTCOMES = Outcomes()


def _reason(report: pytest.TestReport) -> str:
    """One line of why a test did not pass."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr)[:400]


def _counting(send: Any) -> Any:
    def handle(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        response = send(transport, request)
        OUTCOMES.answers += str(request.url).startswith(ENDPOINT)
        return response

    return handle


httpx.HTTPTransport.handle_request = _counting(httpx.HTTPTransport.handle_request)  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    before = OUTCOMES.answers
    result = yield
    if item.nodeid in OUTCOMES.tests:
        OUTCOMES.tests[item.nodeid]["answers"] = OUTCOMES.answers - before
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    OUTCOMES.note(report)


def pytest_sessionfinish() -> None:
    Path(SUITE["outcomes"]).write_text(json.dumps(OUTCOMES.tests, indent=1))
