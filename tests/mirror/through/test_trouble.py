"""Upstream cuts, lies, stalls, refuses, goes away: the status is right, nothing wrong is stored or given whole."""

import time
from typing import Any

import pytest
from django.test import Client

from mirror.store import blob_store
from mirror.sync import stage_name
from mirror.through import following
from registry.models import Commit, Event, File
from tests.mirror.through.conftest import FILES, NEXT, WEIGHTS
from tests.mirror.through.reading import (
    BIG,
    PATH,
    body,
    broken_body,
    fetch_job,
    forget_failure,
    nothing_is_stored,
)
from tests.services.hub import Hub
from tests.services.processes import wait_for


def test_a_cut_connection_is_gone_on_from_where_it_ended(through: Client, hub: Hub) -> None:
    hub.fault("cut", path="*.safetensors", at=700_000, times=2)
    assert body(through.get(PATH)) == WEIGHTS
    assert [seen.headers.get("range") for seen in hub.seen("resolve")] == [
        None, "bytes=700000-", "bytes=1400000-",
    ]  # fmt: skip


def test_a_range_that_upstream_ignores_mixes_nothing(through: Client, hub: Hub) -> None:
    hub.fault("cut", path="*.safetensors", at=700_000, times=1)
    hub.fault("ignore-range", path="*.safetensors")
    assert body(through.get(PATH)) == WEIGHTS


LIES = [
    ({"kind": "corrupt", "at": 1_500_000}, "wrong-digest"),
    ({"kind": "truncate", "at": 900_000}, "wrong-size"),
    ({"kind": "html"}, "html-instead-of-file"),
    ({"kind": "pointer"}, "pointer-instead-of-file"),
    ({"kind": "status", "status": 404, "error_code": "EntryNotFound"}, "entry-not-found"),
    ({"kind": "status", "status": 404, "error_code": "RepoNotFound"}, "repo-not-found"),
]


@pytest.mark.parametrize(("fault", "code"), LIES)
def test_wrong_bytes_are_never_stored_nor_given_whole(
    through: Client, hub: Hub, fault: dict[str, Any], code: str
) -> None:
    hub.fault(**fault, path="*.safetensors")
    answer = through.get(PATH)
    if answer.status_code == 200:
        assert len(broken_body(answer)) < len(WEIGHTS)
    wait_for(lambda: fetch_job().state == "failed", what="the fetch to fail")
    assert fetch_job().error_code == code
    assert nothing_is_stored()
    n_before = len(hub.requests)
    again = through.get(PATH)
    assert (again.status_code, again["X-Repo-Commit"]) == (502, Commit.objects.get().commit_hash)
    assert len(hub.requests) == n_before, "upstream was asked again at once"
    hub.heal()
    forget_failure()
    assert body(through.get(PATH)) == WEIGHTS


def test_the_message_names_both_digests(through: Client, hub: Hub) -> None:
    hub.fault("corrupt", at=3, path="config.json")
    entry = next(iter(hub.repos["org/model"].commits.values())).files["config.json"]
    answer = through.get("/org/model/resolve/main/config.json")
    assert answer.status_code == 502
    assert f"expected git oid {entry.git_oid}, got git oid " in answer.json()["error"]


@pytest.mark.usefixtures("old_at_once")
@pytest.mark.parametrize("kind", ["list-sha256", "list-size"])
def test_a_listing_that_lies_is_found_out_by_the_bytes_and_corrected(
    through: Client, hub: Hub, kind: str
) -> None:
    hub.fault(kind, path="*.safetensors", by=-5)
    answer = through.get(PATH)
    if answer.status_code == 200:
        broken_body(answer)
    wait_for(lambda: fetch_job().state == "failed", what="the fetch to fail")
    assert through.get(PATH).status_code == 502
    assert nothing_is_stored()
    assert body(through.get("/org/model/resolve/main/config.json")) == FILES["config.json"]
    hub.heal()
    forget_failure()
    assert body(through.get(PATH)) == WEIGHTS
    assert Event.objects.filter(type="metadata extraction").count() == 1


def test_who_has_the_beginning_of_wrong_bytes_must_begin_anew(through: Client, hub: Hub) -> None:
    hub.fault("corrupt", at=10, path="*.safetensors")
    answer = through.get(PATH)
    if answer.status_code == 200:
        broken_body(answer)
    wait_for(lambda: fetch_job().state == "failed", what="the fetch to fail")
    hub.heal()
    forget_failure()
    for _ in range(2):  # while it arrives, and when it is held
        resumed = through.get(PATH, headers={"Range": "bytes=1000-"})
        assert (resumed.status_code, body(resumed)) == (200, WEIGHTS)


def test_429_is_503_with_the_time_to_wait_and_goes_on_by_itself(through: Client, hub: Hub) -> None:
    through.head(PATH)
    hub.fault("status", status=429, retry_after=2, times=1)
    answer = through.get(PATH)
    assert (answer.status_code, answer["X-Error-Code"]) == (503, "UpstreamTrouble")
    assert 1 <= int(answer["Retry-After"]) <= 3
    time.sleep(int(answer["Retry-After"]))
    assert body(through.get(PATH)) == WEIGHTS


def test_upstream_away_is_503_and_what_is_held_is_served(through: Client, hub: Hub) -> None:
    assert body(through.get("/org/model/resolve/main/config.json")) == FILES["config.json"]
    hub.stop()
    assert through.get(PATH).status_code == 503
    assert body(through.get("/org/model/resolve/main/config.json")) == FILES["config.json"]


def test_a_branch_that_moves_meanwhile_leaves_the_commit_whole(through: Client, hub: Hub) -> None:
    first = through.head(PATH)["X-Repo-Commit"]
    hub.add("org/model", NEXT)
    assert body(through.get(f"/org/model/resolve/{first}/config.json")) == FILES["config.json"]


def test_bytes_of_a_dead_process_are_gone_on_from(through: Client, hub: Hub, settings: Any) -> None:
    through.head(PATH)
    with blob_store().stage(
        stage_name("org/model", File.objects.get(path="model.safetensors").etag)
    ) as staged:
        staged.write(WEIGHTS[:500_000])
        staged.checkpoint()
    assert body(through.get(PATH)) == WEIGHTS
    if blob_store().name == "directory":
        assert [seen.headers.get("range") for seen in hub.seen("resolve")] == ["bytes=500000-"]


def test_a_stalled_upstream_holds_nobody_for_ever(
    through: Client, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "STALLED_SECONDS", 0.5)
    hub.add("org/model", {"model.safetensors": BIG})
    hub.fault("stall", at=2_000_000, times=1)
    got = broken_body(through.get(PATH))
    if blob_store().name == "directory":
        assert got == BIG[:2_000_000]
    assert nothing_is_stored()
