"""Making, moving, hiding and deleting repos over the API."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from registry import git
from registry.models import Commit, Event, File, Member, Organisation, Repo
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
