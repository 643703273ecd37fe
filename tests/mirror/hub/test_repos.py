"""Repo info and the list: shapes, filters, order, paging, access, cost."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client

from mirror.hub.repos import NEWEST
from registry import git
from registry.models import Commit, Repo
from tests.checkpoints import ensure_repo, record_commit
from tests.mirror.hub.conftest import FILES, WEIGHTS, Caller


def ids(client: Client, query: str = "") -> list[str]:
    """The ids of every page of the list, following Link as clients do."""
    url, found = f"/api/models?{query}", []
    while url:
        response = client.get(url)
        assert response.status_code == 200, response.content
        found += [entry["id"] for entry in response.json()]
        link = response.headers.get("Link", "")
        assert not link or link.startswith("<http://testserver/api/models?")
        url = link[1:].partition(">")[0].removeprefix("http://testserver") if link else ""
    return found


def test_info_says_what_clients_need(client: Client, commit: Commit) -> None:
    info = client.get("/api/models/acme/tiny").json()
    assert info["id"] == info["modelId"] == "acme/tiny"
    assert info["sha"] == commit.commit_hash
    assert [entry["rfilename"] for entry in info["siblings"]] == sorted(FILES)
    assert set(info["siblings"][0]) == {"rfilename"}
    assert (info["private"], info["gated"], info["disabled"]) == (False, False, False)
    assert info["lastModified"] == "2026-01-02T03:04:05.000Z"
    assert info["usedStorage"] == sum(map(len, FILES.values()))
    assert {"_id", "author", "tags", "downloads", "likes", "createdAt", "spaces"} <= set(info)
    assert "xet" not in str(info).lower()


def test_blobs_adds_sizes_and_digests(client: Client, commit: Commit) -> None:
    siblings = client.get("/api/models/acme/tiny?blobs=True").json()["siblings"]
    by_name = {entry["rfilename"]: entry for entry in siblings}
    assert by_name["README.md"] == {
        "rfilename": "README.md", "size": 7, "blobId": git.git_blob_oid(FILES["README.md"]),
    }  # fmt: skip
    sha256, size = hashlib.sha256(WEIGHTS).hexdigest(), len(WEIGHTS)
    pointer = git.lfs_pointer(sha256, size)
    assert by_name["model.safetensors"] == {
        "rfilename": "model.safetensors", "size": size, "blobId": git.git_blob_oid(pointer),
        "lfs": {"sha256": sha256, "size": size, "pointerSize": len(pointer)},
    }  # fmt: skip


def test_every_kind_of_revision_gives_the_same_commit(client: Client, commit: Commit) -> None:
    for revision in ("main", "refs%2Fheads%2Fmain", commit.commit_hash, commit.commit_hash[:8]):
        url = f"/api/models/acme/tiny/revision/{revision}"
        assert client.get(url, RAW_URI=url).json()["sha"] == commit.commit_hash


def test_expand_gives_only_what_was_asked_for(client: Client, commit: Commit) -> None:
    info = client.get("/api/models/acme/tiny?expand=sha&expand[]=gated&expand=trendingScore").json()
    assert set(info) == {"_id", "id", "sha", "gated", "trendingScore"}


def test_what_nobody_knows_cannot_be_expanded(client: Client, commit: Commit) -> None:
    for url in (
        "/api/models/acme/tiny?expand=foo",
        "/api/models?expand=sha&expand=foo",
        "/api/datasets?expand=gguf",
    ):
        response = client.get(url)
        assert response.status_code == 400
        assert response.json()["error"].startswith('"expand" must be one of [author, ')


def test_security_is_said_not_to_have_been_looked_into(client: Client, commit: Commit) -> None:
    assert "securityRepoStatus" not in client.get("/api/models/acme/tiny").json()
    info = client.get("/api/models/acme/tiny?securityStatus=true").json()
    assert info["securityRepoStatus"] == {"scansDone": False, "filesWithIssues": []}


def test_what_inspection_found_is_told(client: Client, db: None) -> None:
    record_commit(
        "acme/known", {"model.safetensors": WEIGHTS}, architecture="llama", parameter_count=30, context_length=256,
        license="mit", pipeline_tag="text-generation", library_name="transformers", tags=["tiny"],
        card_data={"license": "mit", "language": ["en"], "base_model": "acme/base", "datasets": ["acme/words"]},
        facts={"formats": ["safetensors"], "parameters": {"F32": 10, "BF16": 20}},
    )  # fmt: skip
    info = client.get("/api/models/acme/known").json()
    assert info["safetensors"] == {"parameters": {"F32": 10, "BF16": 20}, "total": 30}
    assert info["config"] == {"model_type": "llama"}
    assert info["pipeline_tag"] == "text-generation"
    assert info["cardData"]["base_model"] == "acme/base"
    assert {"tiny", "license:mit", "base_model:acme/base", "dataset:acme/words", "en"} <= set(info["tags"])


def test_errors_follow_the_table(
    client: Client, charlie_client: Client, commit: Commit, secret: Commit
) -> None:
    for somebody, url, status, code in [
        (client, "acme/none", 401, "RepoNotFound"),
        (client, "acme/secret", 401, "RepoNotFound"),
        (charlie_client, "acme/secret", 404, "RepoNotFound"),
        (client, "gpt2", 401, "RepoNotFound"),
        (client, "gpt2/revision/main", 401, "RepoNotFound"),
        (client, "gpt2/tree/main?recursive=true", 401, "RepoNotFound"),
        (client, "acme/tiny/revision/none", 404, "RevisionNotFound"),
        (client, "acme/tiny/revision/" + "0" * 40, 404, "RevisionNotFound"),
        (client, "a%00b/tiny", 401, "RepoNotFound"),
    ]:
        response = somebody.get(f"/api/models/{url}")
        assert (response.status_code, response["X-Error-Code"]) == (status, code), url
        assert response.json()["error"]


def test_a_repo_without_a_commit_has_no_revision_yet(client: Client, db: None) -> None:
    ensure_repo("acme/coming")
    assert client.get("/api/models/acme/coming")["X-Error-Code"] == "RevisionNotFound"
    assert ids(client) == []


@pytest.mark.parametrize(
    "path",
    ["agent-harnesses", "models-tags-by-type", "trending", "", "spaces", "kernels/a/b", "models/a/b/c/d/e"],
)
@pytest.mark.parametrize("method", ["get", "post", "head", "delete"])
def test_what_is_not_offered_is_a_json_404_and_no_list(
    client: Client, alice_client: Client, path: str, method: str
) -> None:
    response = getattr(alice_client, method)(f"/api/{path}")
    assert response.status_code == 404
    if method != "head":
        assert set(response.json()) == {"error"}


def test_an_endpoint_that_is_not_offered_is_no_missing_repo(
    client: Client, charlie_client: Client, commit: Commit, secret: Commit
) -> None:
    known = charlie_client.post("/api/models/acme/tiny/like")
    assert known.status_code == 404
    assert "X-Error-Code" not in known
    for repo_id in ("acme/secret", "acme/none"):
        assert charlie_client.post(f"/api/models/{repo_id}/like")["X-Error-Code"] == "RepoNotFound"


# --- the list ----------------------------------------------------------------------------------------------


@pytest.fixture
def catalog(db: None) -> list[str]:
    """Seven repos of two owners, newest last."""
    names = [f"acme/model-{number}" for number in range(5)] + ["other/Model-x", "other/thing"]
    for number, name in enumerate(names):
        record_commit(
            name, {"config.json": b"{}"}, committed_at=datetime(2026, 1, 28 - number, tzinfo=UTC),
            license="mit" if number % 2 else "apache-2.0", pipeline_tag="text-generation" if number < 5 else "",
            tags=["tiny", f"no-{number}", *{3: ["größe"], 1: ["gguf"]}.get(number, [])],
            parameter_count=10**number * 1000,
            card_data={"base_model": "acme/base", "language": ["fr", "en"], "co2_eq_emissions": 3}
            if number == 2 else {},
        )  # fmt: skip
        created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
        Repo.objects.filter(repo_id=name).update(created_at=created)
    return names


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [6, 5, 4, 3, 2, 1, 0]),
        ("search=MODEL", [5, 4, 3, 2, 1, 0]),
        ("search=model%20other", [5]),
        ("author=Other", [6, 5]),
        ("filter=tiny&filter=no-4", [4]),
        ("filter=tiny,no-4", [4]),
        ("filter=gr%C3%B6%C3%9Fe", [3]),
        ("filter=license:mit", [5, 3, 1]),
        ("filter=text-generation", [4, 3, 2, 1, 0]),
        ("pipeline_tag=text-generation&author=acme&search=2", [2]),
        ("filter=base_model:acme/base", [2]),
        ("filter=en", [2]),
        ("filter=co2_eq_emissions", [2]),
        ("apps=ollama", [1]),
        ("apps=ollama,vllm", []),
        ("filter=no", []),
        ("num_parameters=min:1M,max:0.01B", [4, 3]),
        ("sort=lastModified", [0, 1, 2, 3, 4, 5, 6]),
        ("sort=lastModified&limit=2", [0, 1, 2, 3, 4, 5, 6]),
        ("sort=createdAt&direction=-1&limit=3", [6, 5, 4, 3, 2, 1, 0]),
        ("sort=downloads&limit=1", [6, 5, 4, 3, 2, 1, 0]),
        ("full=true&limit=2&author=acme", [4, 3, 2, 1, 0]),
        ("gated=false&limit=5", [6, 5, 4, 3, 2, 1, 0]),
        ("gated=true", []),
    ],
)  # fmt: skip
def test_filters_narrow_and_pages_join(
    client: Client, catalog: list[str], query: str, numbers: list[int]
) -> None:
    assert ids(client, query) == [catalog[number] for number in numbers]


def test_entries_are_light_unless_asked(client: Client, catalog: list[str]) -> None:
    light = client.get("/api/models?limit=1").json()[0]
    assert "siblings" not in light
    assert "cardData" not in light
    full = client.get("/api/models?limit=1&full=True").json()[0]
    assert full["siblings"] == [{"rfilename": "config.json"}]
    assert len(full["sha"]) == 40
    expanded = client.get("/api/models?limit=1&expand=siblings&expand=sha").json()[0]
    assert set(expanded) == {"_id", "id", "sha", "siblings"}


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=x", "limit=-1", "cursor=!!!", "cursor=YWJj", "sort=name", "num_parameters=lots",
     "apps=word", "full=maybe", "search=%00", "filter=%00", "sort=createdAt&cursor=fDE4"],
)  # fmt: skip
def test_bad_questions_get_400(client: Client, catalog: list[str], query: str) -> None:
    response = client.get(f"/api/models?{query}")
    assert response.status_code == 400
    assert response.json()["error"]


def test_strangers_see_public_repos_only(
    client: Client, alice_client: Client, charlie_client: Client, commit: Commit, secret: Commit
) -> None:
    assert ids(client) == ids(charlie_client) == ["acme/tiny"]
    assert ids(alice_client) == ["acme/secret", "acme/tiny"]


def test_datasets_are_a_list_of_their_own(client: Client, commit: Commit) -> None:
    record_commit("acme/words", {"data.csv": b"a,b\n"}, repo_type="dataset")
    assert [entry["id"] for entry in client.get("/api/datasets").json()] == ["acme/words"]
    assert "modelId" not in client.get("/api/datasets/acme/words").json()
    assert client.get("/datasets/acme/words/resolve/main/data.csv").getvalue() == b"a,b\n"
    assert client.get("/api/models/acme/words")["X-Error-Code"] == "RepoNotFound"


# --- cost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_files", [2, 80])
@pytest.mark.parametrize("revision", ["", "/revision/main", "/revision/dev", "/revision/hash"])
def test_info_takes_at_most_four_queries(
    alice: User, sign_in: Caller, django_assert_max_num_queries: Any, n_files: int, revision: str
) -> None:
    files = {f"{number}.safetensors": b"%d" % number for number in range(n_files)}
    commit = record_commit("acme/many", files)
    record_commit("acme/many", files, branch="dev")
    client = sign_in(alice)
    url = f"/api/models/acme/many{revision.replace('hash', commit.commit_hash)}"
    client.head(url)  # notes the first use of the token
    for query in ("", "?blobs=true", "?expand=siblings"):
        with django_assert_max_num_queries(4):
            assert client.get(url + query, RAW_URI=url).status_code == 200


@pytest.mark.parametrize("n_repos", [2, 30])
def test_the_list_takes_at_most_four_queries(
    alice: User, sign_in: Caller, django_assert_max_num_queries: Any, n_repos: int
) -> None:
    for number in range(n_repos):
        record_commit(f"acme/model-{number}", {"a.txt": b"a", "b.txt": b"b"})
    client = sign_in(alice)
    client.head("/api/models")
    for query in ("", "full=true", "filter=x&search=model&sort=lastModified", "expand=siblings"):
        with django_assert_max_num_queries(4):
            assert client.get(f"/api/models?{query}").status_code == 200


def test_a_link_is_absolute_and_complete(client: Client, catalog: list[str]) -> None:
    link = client.get(
        "/api/models?filter=tiny&filter=text-generation&limit=2", headers={"Host": "models.example:81"}
    )
    parts = urlsplit(link["Link"][1:].partition(">")[0])
    assert parts.netloc == "models.example:81"
    assert parts.query.startswith("filter=tiny&filter=text-generation&limit=2&cursor=")


# --- data sets ---------------------------------------------------------------------------------------------


@pytest.fixture
def words(db: None) -> Commit:
    """A data set whose card says what is in it."""
    card = {
        "language": ["en", "fr"],
        "size_categories": "100K<n<1M",
        "task_ids": ["natural-language-inference"],
    }
    return record_commit(
        "acme/words", {"a.csv": b"a\n"}, repo_type=Repo.Type.DATASET, tags=["tiny"], card_data=card
    )


@pytest.mark.parametrize(
    ("tag", "is_there"),
    [("language:en", True), ("language:de", False), ("size_categories:100K<n<1M", True), ("tiny", True),
     ("task_ids:natural-language-inference", True), ("task_categories:natural-language-inference", False),
     ("en", False)],
)  # fmt: skip
def test_data_sets_are_found_by_what_their_card_says(
    client: Client, words: Commit, tag: str, is_there: bool
) -> None:
    response = client.get("/api/datasets", {"filter": tag, "full": "true"}).json()
    assert [tag in entry["tags"] for entry in response] == ([True] if is_there else [])
    assert all(entry["cardData"] == words.card_data for entry in response)


@pytest.mark.parametrize("n_repos", [2, 30])
def test_a_search_takes_two_queries_or_three(
    alice: User, sign_in: Caller, django_assert_max_num_queries: Any, n_repos: int
) -> None:
    for number in range(n_repos):
        record_commit(f"acme/model-{number}", {"a.txt": b"a"})
    client = sign_in(alice)
    client.head("/api/models")
    for query, found in [
        ("search=model", n_repos),
        ("search=el-1", 1 if n_repos == 2 else 11),
        ("search=none", 0),
    ]:
        with django_assert_max_num_queries(4):  # with that for the token
            entries = client.get(f"/api/models?{query}").json()
        assert len(entries) == found


def test_a_search_finds_the_same_by_the_newest_as_by_the_index(client: Client, db: None) -> None:
    head = record_commit("acme/base", {"a": b"a"})
    names = [f"{'rare' if number % 60 == 7 else 'tiny'}-{number}" for number in range(NEWEST + 40)]
    Repo.objects.bulk_create(
        Repo(repo_id=f"acme/{name}", namespace="acme", name=name, head=head) for name in names
    )
    for word, limit in [("tiny", 400), ("TINY-4", 7), ("rare", 2), ("are-7", 2), ("re", 4), ("none", 2)]:
        wanted = [f"acme/{name}" for name in reversed(names) if word.lower() in name]
        found, url = [], f"/api/models?search={word}&limit={limit}"
        while url:
            response = client.get(url)
            found += [entry["id"] for entry in response.json()]
            url = response["Link"].partition("testserver")[2].partition(">")[0] if "Link" in response else ""
        assert found == wanted
