"""Branches and tags over the API."""

from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client

from registry.models import Commit, Event, Organisation, Ref, Repo, Upstream
from tests.checkpoints import record_commit, record_tag
from tests.mirror.hub.conftest import Caller


@pytest.fixture
def own(organisation: Organisation) -> Commit:
    """`acme/own`, with an older commit that `old` names."""
    old = record_commit("acme/own", {"config.json": b"{}"}, organisation=organisation, branch="old")
    record_commit("acme/own", {"config.json": b'{"n": 2}'})
    return old


@pytest.fixture
def writer(alice: User, sign_in_to_write: Caller) -> Client:
    return sign_in_to_write(alice)


def post(client: Client, path: str, **body: Any) -> Any:
    return client.post(f"/api/models/acme/own/{path}", body, content_type="application/json")


def targets(kind: str = "branch") -> dict[str, str]:
    rows = Ref.objects.filter(kind=kind).values_list("name", "commit__commit_hash")
    return dict(rows)


def test_a_branch_begins_where_it_is_told(own: Commit, writer: Client) -> None:
    main = Repo.objects.get().head
    record_tag(own, "v1")
    assert main is not None
    assert post(writer, "branch/feat%2Fx").status_code == 200
    for name, start in [
        ("a", own.commit_hash),
        ("b", "old"),
        ("c", "refs/tags/v1"),
        ("d", own.commit_hash[:8]),
    ]:
        assert post(writer, f"branch/{name}", startingPoint=start).status_code == 200, start
    begun = dict.fromkeys("abcd", own.commit_hash) | {"feat/x": main.commit_hash}
    assert targets() == begun | {"old": own.commit_hash, "main": main.commit_hash}
    assert Event.objects.filter(
        agent="alice", summary__startswith="made refs/heads/feat/x of acme/own"
    ).exists()


def test_an_empty_branch_has_no_files_and_no_past(own: Commit, writer: Client) -> None:
    assert post(writer, "branch/blank", emptyBranch=True).status_code == 200
    commit = Commit.objects.get(refs__name="blank")
    assert (commit.parents, commit.n_files) == ([], 0)
    assert bytes(commit.git_object or b"").startswith(b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n")
    assert writer.get("/api/models/acme/own/tree/blank").json() == []
    assert post(writer, "branch/blank", emptyBranch=True).status_code == 409


def test_an_existing_branch_is_a_409_unless_it_may_be_overwritten(own: Commit, writer: Client) -> None:
    for name in ("old", "main"):
        answer = post(writer, f"branch/{name}")
        assert answer.status_code == 409
        assert f"Reference refs/heads/{name} already exists" in answer.json()["error"]
    assert post(writer, "branch/main", startingPoint="old", overwrite=True).status_code == 200
    assert Repo.objects.get().head == own
    record_tag(own, "both")
    assert post(writer, "branch/both").status_code == 200  # a tag of that name is no obstacle


@pytest.mark.parametrize("taken", ["old/x", "refs/heads/old", "deep"])
def test_no_ref_is_made_that_git_could_not_keep_beside_another(
    own: Commit, writer: Client, taken: str
) -> None:
    post(writer, "branch/deep%2Fer")
    assert post(writer, f"branch/{quote(taken, safe='')}").status_code in (400, 409)
    assert set(targets()) == {"main", "old", "deep/er"}


@pytest.mark.parametrize(
    "name", ["refs/pr/5", "refs/x", "a..b", "a b", "-x", ".x", "x.lock", "x/", "@", "a@{0}", "a^", "a\\b", "a\nb",
             "c" * 40, "x" * 251, "a/.b", "é\u200b"],
)  # fmt: skip
def test_a_bad_name_is_refused(own: Commit, writer: Client, name: str) -> None:
    answer = post(writer, f"branch/{quote(name, safe='')}")
    assert answer.status_code == 400
    assert "Invalid reference for a branch" in answer.json()["error"]
    answer = post(writer, "tag/main", tag=name)
    assert answer.status_code == 400
    assert set(targets()) == {"main", "old"}
    assert targets("tag") == {}


def test_letters_of_another_case_are_another_name(own: Commit, writer: Client) -> None:
    assert post(writer, "branch/deep%2Fer").status_code == 200
    assert post(writer, "branch/Deep").status_code == 200


def test_a_bad_start_is_a_revision_not_found(own: Commit, writer: Client) -> None:
    for answer in (post(writer, "branch/x", startingPoint="none"), post(writer, "tag/none", tag="bad name")):
        assert (answer.status_code, answer["X-Error-Code"]) == (404, "RevisionNotFound")


def test_branches_are_deleted_and_main_is_not(own: Commit, writer: Client) -> None:
    record_tag(own, "label")
    assert writer.delete("/api/models/acme/own/branch/old").status_code == 200
    assert set(targets()) == {"main"}
    assert (
        writer.get(f"/api/models/acme/own/revision/{own.commit_hash}").status_code == 200
    )  # the commit stays
    answer = writer.delete("/api/models/acme/own/branch/main")
    assert (answer.status_code, "Cannot delete refs/heads/main" in answer.json()["error"]) == (400, True)
    for missing in ("old", "label"):
        answer = writer.delete(f"/api/models/acme/own/branch/{missing}")
        assert (answer.status_code, "Invalid rev id" in answer.json()["error"]) == (404, True)
    assert Event.objects.filter(type="deletion", summary__startswith="deleted refs/heads/old").count() == 1


def test_tags_are_made_once_and_deleted(own: Commit, writer: Client) -> None:
    assert post(writer, "tag/old", tag="v1.0", message="The first.\nGood.").status_code == 200
    assert targets("tag") == {"v1.0": own.commit_hash}
    assert (
        Event.objects.get(summary__startswith="made refs/tags/v1.0").detail["message"] == "The first.\nGood."
    )
    answer = post(writer, "tag/main", tag="v1.0")
    assert (answer.status_code, "refs/tags/v1.0 already exists" in answer.json()["error"]) == (409, True)
    assert writer.delete("/api/models/acme/own/tag/main").status_code == 404  # a branch is no tag
    assert writer.delete("/api/models/acme/own/tag/v1.0").status_code == 200
    answer = writer.delete("/api/models/acme/own/tag/v1.0")
    assert (answer.status_code, answer["X-Error-Code"]) == (404, "RevisionNotFound")


@pytest.mark.usefixtures("own")
def test_only_those_who_may_write_do(
    bob: User, charlie: User, alice_client: Client, sign_in_to_write: Caller
) -> None:
    assert post(Client(), "branch/x").status_code == 401
    assert post(alice_client, "branch/x").status_code == 403  # her token only reads
    assert post(sign_in_to_write(bob), "branch/x").status_code == 403
    Repo.objects.update(private=True)
    answer = post(sign_in_to_write(charlie), "branch/x")
    assert (answer.status_code, answer["X-Error-Code"]) == (404, "RepoNotFound")
    assert set(targets()) == {"main", "old"}


def test_a_mirrored_repo_is_upstreams_affair(own: Commit, writer: Client) -> None:
    upstream = Upstream.objects.create(kind="huggingface", endpoint="https://hub.example")
    Repo.objects.update(upstream=upstream)
    answer = post(writer, "branch/x")
    assert (answer.status_code, "is mirrored from https://hub.example" in answer.json()["error"]) == (
        403,
        True,
    )


@pytest.mark.parametrize("body", [
    {"startingPoint": 7}, {"overwrite": "yes"}, {"emptyBranch": 1}, {"startingPoint": "x" * 300},
])  # fmt: skip
def test_a_body_that_makes_no_sense_is_400(own: Commit, writer: Client, body: Any) -> None:
    assert post(writer, "branch/x", **body).status_code == 400
    assert post(writer, "tag/main", tag="x", message=7).status_code == 400
