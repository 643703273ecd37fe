"""What is not here is looked up; what was looked up once is the answer for ever, whatever upstream does later."""

import threading
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from mirror.through import asking
from registry.models import Binding, Commit, File, Job, Organisation, Repo
from tests.mirror.through.conftest import FILES, NEXT, WEIGHTS
from tests.services.hub import Hub
from tests.services.processes import wait_for

INFO = "/api/models/org/model"


def head_of(hub: Hub) -> str:
    return hub.repos["org/model"].branches["main"]


# --- what is true afterwards --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["", "/revision/main", "/tree/main?recursive=true", "/refs", "/commits/main", "/revision/{sha}"]
)
def test_the_first_request_of_any_kind_brings_the_listing(through: Client, hub: Hub, path: str) -> None:
    answer = through.get(f"{INFO}{path}".format(sha=head_of(hub)))
    assert answer.status_code == 200, answer.content
    commit = Commit.objects.get()
    assert (commit.commit_hash, commit.is_complete, commit.manifest_sha256) == (head_of(hub), False, None)
    assert {file.path: file.etag for file in commit.files.all()} == {
        path: entry.etag for path, entry in hub.repos["org/model"].commits[head_of(hub)].files.items()
    }
    assert not File.objects.filter(blob__isnull=False).exists()
    assert hub.seen("resolve") == []
    assert not Job.objects.filter(kind="inspect").exists()
    assert Binding.objects.get().repo_id == "org/model"


def test_named_paths_of_a_cold_repo_are_looked_up(through: Client) -> None:
    answer = through.post(
        f"{INFO}/paths-info/main", {"paths": ["config.json", "deep"]}, content_type="application/json"
    )
    assert [entry["path"] for entry in answer.json()] == ["config.json", "deep"]


def test_a_dry_head_tells_size_and_etag_of_what_only_upstream_has(through: Client, hub: Hub) -> None:
    answer = through.head("/org/model/resolve/main/model.safetensors")
    entry = hub.repos["org/model"].commits[head_of(hub)].files["model.safetensors"]
    assert (answer.status_code, answer["ETag"]) == (200, f'"{entry.sha256}"')
    assert (answer["Content-Length"], answer["X-Repo-Commit"]) == (str(len(WEIGHTS)), head_of(hub))
    assert hub.seen("resolve") == []


def test_the_own_api_lists_the_files_of_a_cold_repo(through: Client) -> None:
    files = through.get("/api/holdfast/v1/resolve/org/model").json()["files"]
    known = {file["path"]: file["sha256"] for file in files}
    assert known["config.json"] is None
    assert known["model.safetensors"] is not None


def test_a_wrong_case_is_sent_on_to_upstreams_spelling(through: Client, hub: Hub) -> None:
    hub.repos["Org/Model"] = hub.repos["org/model"]
    answer = through.get("/api/models/Org/Model")
    assert answer.status_code == 200, answer.content
    assert through.get("/api/models/org/model")["Location"] == "/api/models/Org/Model"


def test_a_tag_and_an_older_commit_are_looked_up_when_asked_for(through: Client, hub: Hub) -> None:
    first = head_of(hub)
    hub.add("org/model", NEXT)
    hub.tag("org/model", "v1", first)
    assert through.get(INFO).json()["sha"] == head_of(hub)
    assert through.get(f"{INFO}/revision/v1").json()["sha"] == first
    assert through.get(f"{INFO}/revision/{first}").json()["sha"] == first
    assert Repo.objects.get().head.commit_hash == head_of(hub)


def test_bytes_that_are_here_already_make_the_new_commit_complete(through: Client, hub: Hub) -> None:
    for path in FILES:
        assert b"".join(through.get(f"/org/model/resolve/main/{path}")) == FILES[path]
    hub.add("org/copy", {name: data for name, data in FILES.items() if name != "README.md"})
    assert through.get("/api/models/org/copy").status_code == 200
    copy = Commit.objects.get(repo__repo_id="org/copy")
    assert (copy.is_complete, copy.manifest_sha256 is not None) == (True, True)
    assert Job.objects.filter(kind="inspect", params__commit=copy.pk).exists()


def test_private_and_gated_carry_over(through: Client, hub: Hub) -> None:
    hub.repos["org/model"].gated = "manual"
    assert through.get(INFO).json()["gated"] == "manual"
    refused = through.get("/org/model/resolve/main/config.json")
    assert (refused.status_code, refused["X-Error-Code"]) == (401, "GatedRepo")


# --- absent -------------------------------------------------------------------------------------------------


def test_an_absent_repo_costs_upstream_one_request_a_minute(through: Client, hub: Hub) -> None:
    for _ in range(5):
        answer = through.get("/api/models/org/nothing")
        assert (answer.status_code, answer["X-Error-Code"]) == (401, "RepoNotFound")
    assert len(hub.seen("info")) == 1


def test_an_absent_revision_is_told_as_such_and_remembered(through: Client, hub: Hub) -> None:
    for _ in range(3):
        answer = through.get(f"{INFO}/revision/nowhere")
        assert (answer.status_code, answer["X-Error-Code"]) == (404, "RevisionNotFound")
    assert len(hub.seen("info")) == 1
    through.get(INFO)
    n_before = len(hub.seen("info"))
    for _ in range(3):
        assert through.get(f"{INFO}/revision/{'a' * 40}").status_code == 404
    assert len(hub.seen("info")) == n_before + 1


def test_an_absent_file_is_absent_without_asking_again(through: Client, hub: Hub) -> None:
    answer = through.head("/org/model/resolve/main/tokenizer.json")
    assert (answer.status_code, answer["X-Error-Code"], answer["X-Repo-Commit"]) == (
        404, "EntryNotFound", head_of(hub),
    )  # fmt: skip


def test_names_of_local_organisations_are_never_looked_up(
    through: Client, hub: Hub, organisation: Organisation
) -> None:
    hub.add(f"{organisation.name}/model", FILES)
    assert through.get(f"/api/models/{organisation.name}/model").status_code == 401
    assert hub.requests == []


def test_nothing_is_looked_up_unless_it_is_switched_on(through: Client, hub: Hub, settings: Any) -> None:
    settings.HOLDFAST_PULL_THROUGH = []
    assert through.get(INFO).status_code == 401
    assert hub.requests == []


def test_creating_and_deleting_look_nothing_up(through: Client, hub: Hub) -> None:
    through.post(f"{INFO}/commit/main", b"{}", content_type="application/x-ndjson")
    through.post(f"{INFO}/branch/new", {}, content_type="application/json")
    assert hub.requests == []


# --- trouble ------------------------------------------------------------------------------------------------

TROUBLE = [
    ({"kind": "status", "on": "info", "status": 500}, 503),
    ({"kind": "status", "on": "info", "status": 429, "retry_after": 77}, 503),
    ({"kind": "status", "on": "tree", "status": 503}, 503),
    ({"kind": "status", "on": "info", "status": 403}, 502),
    ({"kind": "status", "on": "info", "status": 403, "error_code": "GatedRepo"}, 403),
    ({"kind": "not-json", "on": "info"}, 502),
    ({"kind": "not-json", "on": "tree"}, 502),
    ({"kind": "list-path", "to": "../../etc/passwd"}, 502),
    ({"kind": "list-loop"}, 502),
]


@pytest.mark.parametrize(("fault", "status"), TROUBLE)
def test_trouble_is_told_as_trouble_and_records_nothing(
    through: Client, hub: Hub, fault: dict[str, Any], status: int
) -> None:
    hub.fault(**fault)
    answer = through.get(INFO)
    assert answer.status_code == status, answer.content
    assert not Commit.objects.exists()
    n_before = len(hub.requests)
    assert through.get(INFO).status_code == status
    assert len(hub.requests) == n_before, "the trouble was forgotten at once"


def test_retry_after_of_a_429_is_passed_on(through: Client, hub: Hub) -> None:
    hub.fault("status", on="info", status=429, retry_after=77)
    assert 70 <= int(through.get(INFO)["Retry-After"]) <= 77


@pytest.mark.usefixtures("old_at_once")
@pytest.mark.parametrize("fault", [fault for fault, _ in TROUBLE[::2]])
def test_the_old_answer_is_served_while_upstream_is_in_trouble(
    through: Client, hub: Hub, fault: dict[str, Any]
) -> None:
    before = through.get(INFO).json()
    hub.add("org/model", NEXT)
    hub.fault(**fault)
    for path in (INFO, f"{INFO}/revision/main"):
        assert through.get(path).json() == before
    assert through.head("/org/model/resolve/main/config.json")["X-Repo-Commit"] == before["sha"]


@pytest.mark.usefixtures("old_at_once")
def test_the_old_answer_is_served_when_upstream_is_gone_or_has_deleted_the_repo(
    through: Client, hub: Hub
) -> None:
    before = through.get(INFO).json()
    repo = hub.repos.pop("org/model")
    assert through.get(INFO).json() == before
    hub.repos["org/model"] = repo
    hub.stop()
    assert through.get(INFO).json() == before


@pytest.mark.usefixtures("old_at_once")
def test_a_moved_branch_is_followed_and_the_old_commit_stays(through: Client, hub: Hub) -> None:
    first = through.get(INFO).json()["sha"]
    second = hub.add("org/model", NEXT)
    assert through.get(INFO).json()["sha"] == second
    assert through.head("/org/model/resolve/main/config.json")["X-Repo-Commit"] == second
    assert through.head(f"/org/model/resolve/{first}/config.json")["X-Repo-Commit"] == first


def test_a_fresh_answer_is_not_asked_for_again(through: Client, hub: Hub) -> None:
    through.get(INFO)
    n_before = len(hub.requests)
    for path in ("", "/revision/main", "/tree/main", "/refs"):
        assert through.get(f"{INFO}{path}").status_code == 200
    assert len(hub.requests) == n_before


def test_a_branch_that_moves_during_the_lookup_gives_one_commit_whole(through: Client, hub: Hub) -> None:
    first = head_of(hub)
    second = hub.add("org/model", NEXT)
    hub.repos["org/model"].branches["main"] = first
    hub.fault("move", to=second, times=1)
    assert through.get(INFO).json()["sha"] == first
    tree = {entry["path"]: entry["oid"] for entry in through.get(f"{INFO}/tree/{first}").json()}
    assert tree["config.json"] == hub.repos["org/model"].commits[first].files["config.json"].git_oid


def test_a_slow_upstream_gets_503_and_the_lookup_goes_on(
    through: Client, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.3)
    with hub.held_up():
        answer = through.get(INFO)
        assert (answer.status_code, answer["X-Error-Code"]) == (503, "UpstreamTrouble")
        assert int(answer["Retry-After"]) >= 1
    wait_for(lambda: through.get(INFO).status_code == 200, what="the lookup to end by itself")
    assert len(hub.seen("tree")) == 1


def test_many_at_once_are_one_lookup(through: Client, hub: Hub) -> None:
    answers: list[int] = []

    def ask() -> None:
        answers.append(Client().get(INFO).status_code)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert len(hub.seen("tree")) == 1


def test_who_finds_no_room_to_wait_is_told_to_come_back(through: Client, settings: Any) -> None:
    settings.HOLDFAST_PULL_THROUGH_WAITING = 0
    answer = through.get(INFO)
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
