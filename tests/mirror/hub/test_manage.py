"""Making, moving, hiding and deleting repos over the API."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from registry import git
from registry.models import Commit, Event, File, Lineage, Member, Organisation, Repo, Upstream
from tests.checkpoints import record_commit
from tests.mirror.hub.conftest import Caller


@pytest.fixture
def writes(sign_in_to_write: Caller) -> Caller:
    return sign_in_to_write


def post(client: Client, path: str, **body: Any) -> Any:
    return client.post(path, body, content_type="application/json")


def create(client: Client, name: str, organisation: str | None = None, **more: Any) -> Any:
    return post(client, "/api/repos/create", name=name, organization=organisation, **more)


# --- create ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("repo_type", ["model", "dataset"])
def test_a_new_repo_has_a_first_commit_with_the_id_of_git(
    alice: User, writes: Caller, repo_type: str
) -> None:
    response = create(writes(alice), "new", "acme", type=repo_type)
    folder = "datasets/" if repo_type == "dataset" else ""
    assert response.json()["url"] == f"http://testserver/{folder}acme/new"
    info = writes(alice).get(f"/api/{repo_type}s/acme/new").json()
    assert (info["private"], info["siblings"]) == (False, [{"rfilename": ".gitattributes"}])
    commit = Commit.objects.get(commit_hash=info["sha"])
    assert (commit.title, commit.author, commit.is_complete) == ("initial commit", "alice", True)
    file = File.objects.get(commit=commit)
    assert commit.git_object is not None
    tree = git.tree_oid({file.path: file.git_oid})
    assert bytes(commit.git_object).startswith(f"tree {tree}\nauthor alice <".encode())
    text = writes(alice).get(f"/{folder}acme/new/resolve/main/.gitattributes").getvalue()
    assert b"\n*.safetensors filter=lfs diff=lfs merge=lfs -text\n" in text
    assert (b"*.mp3" in text) == (repo_type == "dataset")
    assert Event.objects.filter(repo=commit.repo, summary="created acme/new", agent="alice").exists()


def test_what_exists_is_a_409_with_its_url_whatever_the_case(alice: User, writes: Caller) -> None:
    assert create(writes(alice), "new", "acme").status_code == 200
    again = create(writes(alice), "New", "ACME")
    assert (again.status_code, again.json()["url"]) == (409, "http://testserver/acme/new")
    assert create(writes(alice), "new", "acme", type="dataset").status_code == 200  # another kind of thing


def test_a_users_own_namespace_is_made_when_it_is_first_needed(charlie: User, writes: Caller) -> None:
    assert create(writes(charlie), "mine").json()["url"].endswith("/charlie/mine")
    assert create(writes(charlie), "also", "charlie").status_code == 200
    own = Organisation.objects.get(person=charlie)
    assert (own.name, Member.objects.get(organisation=own, user=charlie).role) == ("charlie", "owner")


@pytest.mark.parametrize(("body", "private"), [
    ({"visibility": "private"}, True), ({"visibility": "public"}, False), ({"private": True}, True), ({}, False),
])  # fmt: skip
def test_a_repo_is_as_private_as_was_asked(alice: User, writes: Caller, body: Any, private: bool) -> None:
    create(writes(alice), "new", "acme", **body)
    assert Repo.objects.get(repo_id="acme/new").private is private


@pytest.mark.parametrize("namespace", ["acme", "nobody", "alice", "api"])
def test_a_foreign_namespace_is_refused_whether_it_exists_or_not(
    alice: User, bob: User, writes: Caller, namespace: str
) -> None:
    response = create(writes(bob), "new", namespace)
    assert response.status_code == 403
    assert "don't have the rights" in response.json()["error"]
    assert not Repo.objects.exists()


def test_a_token_that_only_reads_creates_nothing(alice: User, alice_client: Client, client: Client) -> None:
    assert create(client, "new", "acme").status_code == 401
    assert create(alice_client, "new", "acme").status_code == 403
    client.force_login(alice)
    assert create(client, "new", "acme").status_code == 401  # cookies change nothing here
    assert not Repo.objects.exists()


@pytest.mark.parametrize(
    "name", ["a--b", "a..b", "-a", ".a", "a.git", "a/b", "ä", "x" * 97, "a b", "a\n", "a\0"]
)
def test_bad_names_are_refused_with_the_rule(alice: User, writes: Caller, name: str) -> None:
    response = create(writes(alice), name, "acme")
    assert response.status_code == 400
    assert "name" in response.json()["error"]


@pytest.mark.parametrize("body", [
    {"type": "space", "sdk": "gradio"}, {"type": "kernel"}, {"type": ["model"]}, {"visibility": "protected"},
    {"private": "yes"}, {"organization": 7}, {"organization": "\ud800"},
])  # fmt: skip
def test_what_is_not_offered_is_refused_clearly(alice: User, writes: Caller, body: dict[str, Any]) -> None:
    response = post(writes(alice), "/api/repos/create", **{"name": "new", "organization": "acme"} | body)
    assert response.status_code == 400
    assert not Repo.objects.exists()


@pytest.mark.parametrize("body", [b"[]", b"{", b"[" * 100_000, b"\xff", b" " * 70_000])
def test_a_body_that_is_no_small_object_is_refused(alice: User, writes: Caller, body: bytes) -> None:
    response = writes(alice).post("/api/repos/create", body, content_type="application/json")
    assert response.status_code in (400, 413)


# --- move --------------------------------------------------------------------------------------------------


def move(client: Client, old: str, new: str, **more: Any) -> Any:
    return post(client, "/api/repos/move", fromRepo=old, toRepo=new, **more)


@pytest.fixture
def made(alice: User, writes: Caller) -> Client:
    """Alice, who has made `acme/mine`."""
    client = writes(alice)
    assert create(client, "mine", "acme").status_code == 200
    return client


def test_a_moved_repo_is_asked_for_by_both_names(made: Client) -> None:
    assert move(made, "acme/mine", "alice/yours").json()["url"] == "http://testserver/alice/yours"
    answer = made.get("/api/models/acme/mine/refs")
    assert made.get(answer["Location"]).json()["branches"][0]["name"] == "main"
    answer = made.post("/api/models/acme/mine/branch/x", {}, content_type="application/json")
    assert (answer.status_code, answer["Location"]) == (307, "/api/models/alice/yours/branch/x")
    assert move(made, "acme/mine", "acme/x").status_code == 404  # a name in a body is the name of today


def test_moving_onto_another_repo_is_a_409(made: Client) -> None:
    create(made, "taken", "acme")
    answer = move(made, "acme/mine", "acme/taken")
    assert answer.status_code == 409
    assert "A model repository called 'acme/taken' already exists" in answer.json()["error"]


@pytest.mark.parametrize("to", ["nobody/mine", "mine", "acme/a--b", "api/mine", "acme/a/b", ""])
def test_a_repo_is_not_moved_to_where_none_can_be(made: Client, to: str) -> None:
    assert move(made, "acme/mine", to).status_code in (400, 403)
    assert Repo.objects.get().repo_id == "acme/mine"


# --- settings ----------------------------------------------------------------------------------------------


def put(client: Client, **body: Any) -> Any:
    return client.put("/api/models/acme/mine/settings", body, content_type="application/json")


@pytest.mark.parametrize("gated", ["auto", "manual", False])
def test_settings_are_what_was_asked_for_last(made: Client, client: Client, gated: Any) -> None:
    assert put(made, private=True).status_code == 200
    assert client.get("/api/models/acme/mine").status_code == 401
    assert put(made, visibility="public", gated=gated).status_code == 200
    info = client.get("/api/models/acme/mine").json()
    assert (info["private"], info["gated"]) == (False, gated)
    assert Event.objects.filter(summary__startswith="changed the settings of acme/mine").count() == 2


@pytest.fixture
def child(made: Client) -> Repo:
    """`acme/mine-GGUF`, which was made here of `acme/mine`."""
    child = record_commit("acme/mine-GGUF", {"x": b"x"}).repo
    edge = {"parent": Repo.objects.get(name="mine"), "parent_repo_id": "acme/mine", "relation": "quantized"}
    Lineage.objects.create(child=child, evidence="made_here", **edge)
    return child


def test_what_was_made_of_a_hidden_repo_is_hidden_with_it(made: Client, client: Client, child: Repo) -> None:
    put(made, private=True)
    assert client.get("/api/models/acme/mine-GGUF").status_code == 401
    put(made, private=False)
    assert client.get("/api/models/acme/mine-GGUF").status_code == 401


def test_what_was_made_of_a_gated_repo_is_gated_with_it(made: Client, child: Repo) -> None:
    put(made, gated="manual")
    child.refresh_from_db()
    assert child.gated == "manual"
    put(made, gated="auto", private=True)
    child.refresh_from_db()
    assert (child.gated, child.private) == ("manual", True)
    put(made, gated=False, private=False)
    child.refresh_from_db()
    assert (child.gated, child.private) == ("manual", True)


@pytest.mark.parametrize(
    "body", [{}, {"gated": "yes"}, {"gated": True}, {"gated": 0}, {"gated": []}, {"private": 1}]
)
def test_settings_that_make_no_sense_are_400(made: Client, body: Any) -> None:
    assert put(made, **body).status_code == 400


# --- delete ------------------------------------------------------------------------------------------------


def delete(client: Client, name: str, organisation: str | None = None, **more: Any) -> Any:
    body = {"name": name, "organization": organisation} | more
    return client.delete("/api/repos/delete", body, content_type="application/json")


def test_a_deleted_repo_is_not_found(made: Client) -> None:
    assert delete(made, "mine", "acme", type="dataset").status_code == 404
    assert delete(made, "mine", "acme").status_code == 200
    assert made.get("/api/models/acme/mine").status_code == 404
    answer = delete(made, "mine", "acme")
    assert (answer.status_code, answer["X-Error-Code"]) == (404, "RepoNotFound")
    assert create(made, "mine", "acme").status_code == 200


def test_without_an_organisation_it_is_ones_own(charlie: User, writes: Caller) -> None:
    create(writes(charlie), "mine")
    assert delete(writes(charlie), "mine").status_code == 200
    assert delete(writes(charlie), "mine").status_code == 404


def test_only_owners_move_hide_and_delete(made: Client, bob: User, charlie: User, writes: Caller) -> None:
    Member.objects.filter(user=bob).update(role="writer")
    for user, status in [(bob, 403), (charlie, 403)]:
        client = writes(user)
        assert delete(client, "mine", "acme").status_code == status
        assert put(client, private=True).status_code == status
        assert move(client, "acme/mine", f"{user.username}/mine").status_code == status
    Repo.objects.update(private=True)
    stranger = writes(charlie)
    answers = [
        delete(stranger, "mine", "acme"),
        put(stranger, private=False),
        move(stranger, "acme/mine", "charlie/x"),
    ]
    assert [(answer.status_code, answer["X-Error-Code"]) for answer in answers] == [(404, "RepoNotFound")] * 3
    assert Repo.objects.get().repo_id == "acme/mine"


def test_a_mirror_is_moved_hidden_and_deleted_by_superusers(alice: User, writes: Caller) -> None:
    upstream = Upstream.objects.create(kind="huggingface", endpoint="https://hub.example")
    repo = record_commit("org/model", {"x": b"x"}).repo
    Repo.objects.update(upstream=upstream, upstream_repo_id="org/model")
    client = writes(alice)
    assert delete(client, "model", "org").status_code == 403
    alice.is_superuser = True
    alice.save(update_fields=["is_superuser"])
    assert move(client, "org/model", "acme/model").status_code == 200
    repo.refresh_from_db()
    assert (repo.repo_id, repo.upstream, repo.upstream_repo_id) == ("acme/model", upstream, "org/model")
    assert delete(client, "model", "acme").status_code == 200
    assert not Repo.objects.exists()
