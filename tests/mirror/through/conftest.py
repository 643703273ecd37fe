"""A hub that this registry pulls from, and what was served before."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from mirror.through import asking, following, running
from tests.services.hub import Hub

WEIGHTS = bytes(range(256)) * 8_000
FILES: dict[str, bytes | Path] = {
    "README.md": b"---\nlicense: mit\n---\n# A model\n",
    "config.json": b'{"a": 1}',
    "deep/empty.txt": b"",
    "model.safetensors": WEIGHTS,
}
NEXT = {**FILES, "config.json": b'{"a": 2}'}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as made:
        made.add("org/model", FILES, title="First")
        yield made


@pytest.fixture
def through(
    hub: Hub, settings: Any, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client of a registry that pulls through from the hub. Requests and jobs run in this process.

    Requests are more patient than in life: a machine that runs many tests at once is slow, not upstream.
    """
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 60.0)
    monkeypatch.setattr(asking, "REFRESH_SECONDS", 60.0)
    monkeypatch.setattr(following, "FIRST_BYTE_SECONDS", 60.0)
    settings.HOLDFAST_PULL_THROUGH = [f"hf+{hub.url}"]
    settings.HOLDFAST_BLOB_DELIVERY = "inline"
    settings.HOLDFAST_HEARTBEAT_SECONDS = 0.2
    asking.forget_freshness()
    yield Client()
    hub.stopping.set()
    running.join_all(20)


@pytest.fixture
def old_at_once(settings: Any) -> None:
    """No answer stays fresh."""
    settings.HOLDFAST_PULL_THROUGH_FRESH_SECONDS = 0.000001
