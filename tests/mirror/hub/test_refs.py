"""Refs and history."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from registry.models import Commit, Ref
from tests.checkpoints import record_commit, record_tag
from tests.mirror.hub.conftest import Caller


def test_refs_name_every_branch_and_tag(client: Client, commit: Commit) -> None:
    record_tag(commit, "v1")
    dev = record_commit("acme/tiny", {"x": b"x"}, branch="a/dev")
    assert client.get("/api/models/acme/tiny/refs").json() == {
        "branches": [
            {"name": "main", "ref": "refs/heads/main", "targetCommit": commit.commit_hash},
            {"name": "a/dev", "ref": "refs/heads/a/dev", "targetCommit": dev.commit_hash},
        ],
        "tags": [{"name": "v1", "ref": "refs/tags/v1", "targetCommit": commit.commit_hash}],
        "converts": [],
    }
    assert client.get("/api/models/acme/tiny/refs?include_prs=1").json()["pullRequests"] == []


@pytest.mark.parametrize("has_raw", [True, False])
def test_a_pull_request_is_listed_when_asked_for_and_read_by_its_full_name(
    client: Client, commit: Commit, has_raw: bool
) -> None:
    offered = record_commit("acme/tiny", {"config.json": b"offered"}, branch="side")
    Ref.objects.create(repo=commit.repo, kind="pr", name="1", commit=offered)
    refs = client.get("/api/models/acme/tiny/refs").json()
    assert [ref["name"] for ref in refs["branches"]] == ["main", "side"]
    assert "pullRequests" not in refs
    refs = client.get("/api/models/acme/tiny/refs?include_prs=1").json()
    assert refs["pullRequests"] == [{"name": "1", "ref": "refs/pr/1", "targetCommit": offered.commit_hash}]
    for revision in ("refs%2Fpr%2F1", "refs/pr/1"):
        url = f"/acme/tiny/resolve/{revision}/config.json"
        response = client.get(url, **({"RAW_URI": url} if has_raw else {}))
        assert b"".join(response) == b"offered"
    assert client.get("/api/models/acme/tiny/revision/1").status_code == 404


def test_commits_come_newest_first_page_by_page(client: Client, db: None) -> None:
    made = [record_commit("acme/old", {"x": b"%d" % n}, message=f"No {n}\n\nMore on {n}.") for n in range(5)]
    response = client.get("/api/models/acme/old/commits/main?limit=2")
    assert response["X-Total-Count"] == "5"
    found = response.json()
    while "Link" in response.headers:
        response = client.get(response["Link"][1:].partition(">")[0].removeprefix("http://testserver"))
        found += response.json()
    assert [entry["id"] for entry in found] == [commit.commit_hash for commit in reversed(made)]
    assert found[0] == {
        "id": made[4].commit_hash, "title": "No 4", "message": "More on 4.", "authors": [{"user": "Alice"}],
        "date": "2026-01-02T07:04:05.000Z",
    }  # fmt: skip


def test_words_of_a_commit_come_as_html_when_asked(client: Client, db: None) -> None:
    record_commit("acme/old", {"x": b"1"}, message="Add <x>\n\nA & B\n")
    plain = client.get("/api/models/acme/old/commits/main").json()
    assert "formatted" not in plain[0]
    for query in ("expand[]=formatted", "expand=formatted"):
        entry = client.get(f"/api/models/acme/old/commits/main?{query}").json()[0]
        assert entry["formatted"] == {"title": "Add &lt;x&gt;", "message": "<p>A &amp; B</p>"}


def test_history_begins_at_the_revision(client: Client, db: None) -> None:
    made = [record_commit("acme/old", {"x": b"%d" % n}) for n in range(3)]
    found = client.get(f"/api/models/acme/old/commits/{made[1].commit_hash}").json()
    assert [entry["id"] for entry in found] == [made[1].commit_hash, made[0].commit_hash]


@pytest.mark.parametrize("query", ["p=-1", "p=x", "limit=0", "p=99999999999"])
def test_a_bad_page_is_400(client: Client, commit: Commit, query: str) -> None:
    assert client.get(f"/api/models/acme/tiny/commits/main?{query}").status_code == 400


@pytest.mark.parametrize("n_commits", [2, 40])
def test_refs_and_history_take_few_queries(
    alice: User, sign_in: Caller, django_assert_max_num_queries: Any, n_commits: int
) -> None:
    for number in range(n_commits):
        record_tag(record_commit("acme/many", {"x": b"%d" % number}), f"v{number}")
    client = sign_in(alice)
    client.head("/api/models/acme/many")
    with django_assert_max_num_queries(3):
        assert len(client.get("/api/models/acme/many/refs").json()["tags"]) == n_commits
    with django_assert_max_num_queries(6):
        assert client.get("/api/models/acme/many/commits/main").status_code == 200
