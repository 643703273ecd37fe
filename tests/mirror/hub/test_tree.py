"""Listings: against git's own trees, page by page, with the last change of each file."""

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client

from mirror.hub.tree import FEW
from registry.models import Commit
from tests.checkpoints import is_lfs, record_commit
from tests.mirror.hub.conftest import FILES, Caller


def listing(client: Client, url: str) -> list[dict[str, Any]]:
    """Every page of a listing."""
    found: list[dict[str, Any]] = []
    while url:
        response = client.get(url, RAW_URI=url)
        assert response.status_code == 200, response.content
        found += response.json()
        url = response.headers.get("Link", "")[1:].partition(">")[0].removeprefix("http://testserver")
    return found


FORM = "application/x-www-form-urlencoded"


def form(**fields: Any) -> dict[str, str]:
    """What the hub's client sends: an encoded form, not the multipart of Django's test client."""
    return {"data": urlencode(fields, doseq=True), "content_type": FORM}


def paths(client: Client, url: str) -> list[str]:
    return [entry["path"] for entry in listing(client, url)]


def test_the_root_holds_folders_and_files(client: Client, commit: Commit) -> None:
    entries = {entry["path"]: entry for entry in listing(client, "/api/models/acme/tiny/tree/main")}
    assert set(entries) == {"deep", *(path for path in FILES if "/" not in path)}
    assert entries["deep"]["type"] == "directory"
    assert entries["deep"]["size"] == 0
    lfs = entries["model.safetensors"]["lfs"]
    assert lfs["size"] == entries["model.safetensors"]["size"] == len(FILES["model.safetensors"])
    assert len(lfs["oid"]) == 64
    assert lfs["pointerSize"] > 100
    assert "lfs" not in entries["config.json"]


def test_oids_are_those_of_git(client: Client, db: None, tmp_path: Path) -> None:
    files = {path: content for path, content in FILES.items() if not is_lfs(path)}
    tmp_path = tmp_path / "work"
    record_commit("acme/plain", files)
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    tree = subprocess.run(
        ["git", "ls-tree", "-r", "-t", "-z", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    expected = {
        line.split("\t")[1]: line.split("\t")[0].split(" ")[2] for line in tree.stdout.split("\0") if line
    }
    entries = listing(client, "/api/models/acme/plain/tree/main?recursive=true")
    assert {entry["path"]: entry["oid"] for entry in entries} == expected


@pytest.mark.parametrize("has_raw", [True, False])
def test_folders_may_be_named_in_one_segment(client: Client, commit: Commit, has_raw: bool) -> None:
    url = "/api/models/acme/tiny/tree/refs%2Fheads%2Fmain/deep%2Fa"
    response = client.get(url, **({"RAW_URI": url} if has_raw else {}))
    assert [entry["path"] for entry in response.json()] == ["deep/a/b.txt"]


def test_recursive_lists_everything_below_in_order(client: Client, commit: Commit) -> None:
    found = paths(client, "/api/models/acme/tiny/tree/main?recursive=True&expand=False")
    assert found == sorted({*FILES, "deep", "deep/a"})
    below = paths(client, "/api/models/acme/tiny/tree/main/deep?recursive=1")
    assert below == sorted({"deep/a", *(path for path in FILES if path.startswith("deep/"))})


@pytest.mark.parametrize(  # a small commit is read whole
    ("limit", "is_large"),
    [(1, False), (2, False), (3, False), (7, False), (1000, False), (30, True), (1000, True)],
)
@pytest.mark.parametrize("recursive", ["true", "false"])
def test_pages_join_without_gap_or_repeat(
    client: Client, db: None, limit: int, recursive: str, is_large: bool
) -> None:
    files = dict.fromkeys(
        ["a-b/c", "a.txt", "a/b", "a/b.txt", "a/c/d", "B/x", "ü/é", "z", "Z", "a0", "%/x"], b"x"
    )
    files |= {"a/b/d": b"y"}
    del files["a/b"]
    files |= {f"many/{number}": b"x" for number in range(FEW if is_large else 0)}
    record_commit("acme/order", files)
    folders = {path.rsplit("/", 1)[0] for path in files if "/" in path} | {"a"}
    everything = sorted({*files, *folders})
    expected = everything if recursive == "true" else [path for path in everything if "/" not in path]
    url = f"/api/models/acme/order/tree/main?recursive={recursive}&limit={limit}"
    assert paths(client, url) == expected
    below = [path for path in sorted(files) if path.startswith("many/")]
    if is_large:
        assert paths(client, f"/api/models/acme/order/tree/main/many?limit={limit}") == below


def test_folders_that_differ_in_case_are_apart(client: Client, db: None) -> None:
    record_commit("acme/case", {"Data/x": b"1", "data/y": b"2", "da_a/z": b"3"})
    assert paths(client, "/api/models/acme/case/tree/main/data") == ["data/y"]
    assert paths(client, "/api/models/acme/case/tree/main/da_a") == ["da_a/z"]


@pytest.mark.parametrize("path", ["none", "config.json", "dee", "deep/a/b.txt", "deep//a", "%00"])
def test_what_is_no_folder_is_a_missing_entry(client: Client, commit: Commit, path: str) -> None:
    response = client.get(f"/api/models/acme/tiny/tree/main/{path}")
    assert (response.status_code, response["X-Error-Code"]) == (404, "EntryNotFound")


def test_expand_names_the_commit_that_last_changed_a_file(client: Client, db: None) -> None:
    record_commit("acme/history", {"old.txt": b"1", "new.txt": b"1", "back.txt": b"1"}, message="First")
    record_commit("acme/history", {"old.txt": b"1", "new.txt": b"2", "back.txt": b"2"}, message="Second")
    record_commit("acme/history", {"old.txt": b"1", "new.txt": b"2", "back.txt": b"1"}, message="Third")
    entries = listing(client, "/api/models/acme/history/tree/main?expand=true")
    titles = {entry["path"]: entry["lastCommit"]["title"] for entry in entries}
    assert titles == {"old.txt": "First", "new.txt": "Second", "back.txt": "Third"}
    assert set(entries[0]["lastCommit"]) == {"id", "title", "date"}


def test_expand_names_the_commit_that_last_changed_a_folder(client: Client, db: None) -> None:
    record_commit("acme/history", {"old/a/x": b"1", "new/x": b"1", "new/y": b"1"}, message="First")
    record_commit("acme/history", {"old/a/x": b"1", "new/x": b"1"}, message="Second")
    record_commit("acme/history", {"old/a/x": b"1", "new/x": b"1", "z": b"3"}, message="Third")
    entries = listing(client, "/api/models/acme/history/tree/main?expand=true&recursive=true")
    titles = {
        entry["path"]: entry["lastCommit"]["title"] for entry in entries if entry["type"] == "directory"
    }
    assert titles == {"old": "First", "old/a": "First", "new": "Second"}


# --- paths-info --------------------------------------------------------------------------------------------


def test_paths_info_takes_a_form_or_json(client: Client, commit: Commit) -> None:
    url = "/api/models/acme/tiny/paths-info/main"
    asked = ["model.safetensors", "none", "deep/", "config.json"]
    by_form = client.post(url, **form(paths=asked, expand="True"))
    by_json = client.post(url, json.dumps({"paths": asked, "expand": True}), content_type="application/json")
    assert by_form.json() == by_json.json()
    assert [entry["path"] for entry in by_form.json()] == ["model.safetensors", "deep", "config.json"]
    assert by_form.json()[2]["lastCommit"]["id"] == commit.commit_hash


def test_paths_info_of_a_branch_with_slashes(client: Client, commit: Commit) -> None:
    record_commit("acme/tiny", {"x": b"x"}, branch="feat/x")
    for has_raw in (True, False):
        url = "/api/models/acme/tiny/paths-info/feat%2Fx"
        response = client.post(url, **form(paths=["x"]), **({"RAW_URI": url} if has_raw else {}))
        assert [entry["path"] for entry in response.json()] == ["x"]


@pytest.mark.parametrize(
    "body", ["", "[]", "{", '"x"', '{"paths": 5}', '{"paths": [1]}', '{"paths": ["\\u0000"]}', "[" * 50_000]
)
def test_a_body_that_says_nothing_is_refused(client: Client, commit: Commit, body: str) -> None:
    response = client.post("/api/models/acme/tiny/paths-info/main", body, content_type="application/json")
    assert response.status_code == (200 if body == "" else 400)


def test_more_paths_than_django_takes_fields(client: Client, commit: Commit) -> None:
    many = [f"no-{number}" for number in range(3000)] + ["config.json"]
    response = client.post("/api/models/acme/tiny/paths-info/main", **form(paths=many))
    assert [entry["path"] for entry in response.json()] == ["config.json"]
    too_many = [f"no-{number}" for number in range(10_001)]
    assert client.post("/api/models/acme/tiny/paths-info/main", **form(paths=too_many)).status_code == 400


# --- cost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_files", [2, 120])
def test_listings_take_the_same_few_queries_for_any_size(
    alice: User, sign_in: Caller, django_assert_max_num_queries: Any, n_files: int
) -> None:
    record_commit("acme/many", {f"d{number % 7}/{number}": b"%d" % number for number in range(n_files)})
    client = sign_in(alice)
    client.head("/api/models/acme/many")
    below, everything = "/api/models/acme/many/tree/main/d1", "/api/models/acme/many/tree/main?recursive=true"
    with django_assert_max_num_queries(5):  # token, repo, revision, folders (once a commit), files
        client.get(everything, RAW_URI=everything)
    with django_assert_max_num_queries(4):
        client.get(everything, RAW_URI=everything)
    with django_assert_max_num_queries(7):  # parents, history, its files
        client.get(f"{below}?expand=true&limit=50", RAW_URI=below)
    with django_assert_max_num_queries(8):  # and what is below the folders
        client.get("/api/models/acme/many/tree/main?expand=true&limit=50")
    with django_assert_max_num_queries(7):
        asked = [f"d{number % 7}/{number}" for number in range(n_files)]
        client.post("/api/models/acme/many/paths-info/main", **form(paths=asked, expand="true"))


def test_a_body_beyond_the_limit_is_refused_as_such(client: Client, commit: Commit, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    question = {"paths": ["a" * 1000]}
    response = client.post("/api/models/acme/tiny/paths-info/main", question, content_type="application/json")
    assert response.status_code == 413
    assert "at most 1000 bytes" in response.json()["error"]
