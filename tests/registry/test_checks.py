"""Wrong configuration is found before anything starts, with an id and a remedy."""

from typing import Any

import pytest
from django.core.checks import run_checks


def ids() -> set[str]:
    return {message.id for message in run_checks() if message.id and message.id.startswith("holdfast.")}


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("HOLDFAST_BLOBS", "ftp://example", "holdfast.E001"),
        ("HOLDFAST_UPSTREAM_ALLOW", ["http://x/y"], "holdfast.E002"),
        ("HOLDFAST_UPSTREAM_TOKENS", ["hub.example"], "holdfast.E003"),
        ("HOLDFAST_AUTO_CONVERT", ["Q8_0", "Q9_9"], "holdfast.E004"),
        ("HOLDFAST_PULL_THROUGH", ["hf://", "hf+https://hub.example/org/model"], "holdfast.E005"),
        ("HOLDFAST_PULL_THROUGH", ["https://hub.example"], "holdfast.E005"),
        ("HOLDFAST_PULL_THROUGH", ["hf+https://user:secret@hub.example"], "holdfast.E005"),
        ("HOLDFAST_PULL_THROUGH", ["hf+https://hub.example:port"], "holdfast.E005"),
        ("HOLDFAST_LEASE_SECONDS", 0.1, "holdfast.W001"),
    ],
)
def test_each_mistake_has_its_id(settings: Any, setting: str, value: object, expected: str) -> None:
    assert expected not in ids()
    setattr(settings, setting, value)
    assert expected in ids()


def test_a_token_is_never_shown(settings: Any) -> None:
    settings.HOLDFAST_UPSTREAM_TOKENS = ["hub.example/path=hf_secret"]
    assert not any("hf_secret" in f"{message.msg}{message.hint}" for message in run_checks())
