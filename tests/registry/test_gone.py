"""Which repos their upstream no longer has."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from registry.gone import with_gone
from registry.models import Commit, Job, Repo, Upstream
from tests.checkpoints import record_commit

HUB = "https://hub.example"


@pytest.fixture
def mirrored(db: None) -> Commit:
    """acme/m, which the hub was last asked for, with success, an hour ago."""
    commit = record_commit("acme/m", {"config.json": b"{}"})
    upstream = Upstream.objects.create(kind="huggingface", endpoint=HUB)
    Repo.objects.update(
        upstream=upstream, upstream_repo_id="org/m", synced_at=timezone.now() - timedelta(hours=1)
    )
    return commit


def refuse(kind: str, *, code: str = "repo-not-found", ago: timedelta = timedelta(0), **about: Any) -> None:
    Job.objects.create(
        kind=kind, key="k", label="l", state="failed", error_code=code, finished_at=timezone.now() - ago, **about
    )  # fmt: skip


def is_gone() -> bool:
    return bool(with_gone(Repo.objects.all()).get().is_gone)  # type: ignore[attr-defined]


def test_what_upstream_still_has_is_not_gone(mirrored: Commit) -> None:
    assert not is_gone()


def test_a_mirror_job_that_found_no_repo_says_so(mirrored: Commit) -> None:
    refuse("mirror", params={"endpoint": HUB, "upstream_repo_id": "org/m"})
    assert is_gone()


def test_so_does_a_lookup(mirrored: Commit) -> None:
    refuse("lookup", repo=mirrored.repo)
    assert is_gone()


@pytest.mark.parametrize(
    ("code", "ago", "params"),
    [
        ("repo-not-found", timedelta(hours=2), {"endpoint": HUB, "upstream_repo_id": "org/m"}),
        ("revision-not-found", timedelta(0), {"endpoint": HUB, "upstream_repo_id": "org/m"}),
        ("repo-not-found", timedelta(0), {"endpoint": HUB, "upstream_repo_id": "org/other"}),
        ("repo-not-found", timedelta(0), {"endpoint": "https://else.example", "upstream_repo_id": "org/m"}),
    ],
)
def test_older_answers_and_those_about_others_do_not_count(
    mirrored: Commit, code: str, ago: timedelta, params: dict[str, str]
) -> None:
    refuse("mirror", code=code, ago=ago, params=params)
    assert not is_gone()


def test_what_was_made_here_cannot_be_gone(db: None) -> None:
    commit = record_commit("acme/own", {"config.json": b"{}"})
    refuse("lookup", repo=commit.repo)
    assert not is_gone()
