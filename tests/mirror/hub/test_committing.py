"""`POST /commit/{revision}`: what is sent lands, all or nothing, for those who may."""

import json
import resource
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from mirror.blobs.keys import BLOBS
from mirror.store import blob_store
from registry.models import Commit, File, Organisation, PullRequest, Ref, Repo
from tests.checkpoints import record_commit, record_tag
from tests.mirror.hub.conftest import Caller as Writer
from tests.mirror.hub.uploading import COMMIT, commit, content, deleted, file, header, lfs_file, sha256


def test_a_commit_is_told_as_clients_parse_it_and_visible_at_once(owner: Client) -> None:
    told = commit(owner, file("a/b.txt", b"hello"), summary="Add b").json()
    assert told["success"] is True
    assert told["commitUrl"] == f"http://testserver/acme/own/commit/{told['commitOid']}"
    info = owner.get("/api/models/acme/own").json()
    assert info["sha"] == told["commitOid"]
    assert content()["a/b.txt"] == b"hello"


def test_what_is_sent_inline_is_kept_as_attributes_and_size_say(owner: Client) -> None:
    large = bytes(range(256)) * 40_000
    commit(owner, file("w.safetensors", b"weights"), file("large.txt", large), file("small.txt", b"small"))
    kept = {one.path: one for one in File.objects.filter(commit__refs__name="main")}
    assert (kept["w.safetensors"].etag, kept["large.txt"].etag) == (sha256(b"weights"), sha256(large))
    assert (kept["small.txt"].is_lfs, kept["w.safetensors"].is_lfs) == (False, True)
    assert content()["large.txt"] == large


def test_attributes_that_come_with_the_commit_count_for_it(owner: Client) -> None:
    commit(owner, file("w.xyz", b"w"), file(".gitattributes", b"*.xyz filter=lfs\n"))
    assert File.objects.get(path="w.xyz").is_lfs


def test_files_go_and_folders_with_all_below(owner: Client) -> None:
    commit(owner, file("a/1", b"1"), file("a/b/2", b"2"), file("c", b"c"))
    assert commit(owner, deleted("a/"), deleted("c")).status_code == 200
    assert set(content()) == {".gitattributes"}


def test_a_folder_goes_that_was_called_a_file(owner: Client) -> None:
    commit(owner, file("a/1", b"1"), file("ab", b"2"))
    assert commit(owner, deleted("a")).status_code == 200
    assert set(content()) == {".gitattributes", "ab"}


def test_an_empty_file_is_its_own_pointer(owner: Client) -> None:
    commit(owner, file("empty.safetensors", b""))
    assert not File.objects.get(path="empty.safetensors").is_lfs


@pytest.mark.parametrize("path", ["nope", "nope/"])
def test_what_is_not_there_cannot_go(owner: Client, path: str) -> None:
    answer = commit(owner, file("new", b"new"), deleted(path))
    assert (answer.status_code, answer["X-Error-Code"]) == (404, "EntryNotFound")
    assert set(content()) == {".gitattributes"}


def test_a_stale_parent_is_refused_in_the_hubs_words(owner: Client) -> None:
    first = Ref.objects.get(name="main").commit.commit_hash
    assert commit(owner, file("a", b"a"), parentCommit=first).status_code == 200
    answer = commit(owner, file("b", b"b"), parentCommit=first)
    assert answer.status_code == 412
    assert answer.json()["error"].startswith(
        "The branch was updated since you opened this page. Please refresh and try again."
    )


@pytest.mark.parametrize(
    "path",
    ["..\\x", "../x", "a/../b", "/x", "a//b", "a/", ".git/config", "a/.GIT/x", "x\ny", "\x7f", "a" * 300, "\ud800"],
)  # fmt: skip
def test_a_path_that_git_or_a_client_cannot_have_is_refused(owner: Client, path: str) -> None:
    assert commit(owner, file(path, b"x")).status_code == 422
    assert Commit.objects.count() == 1


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([], 400),
        ([file("a", b"a")], 400),
        ([header(), header()], 400),
        ([header(""), file("a", b"a")], 400),
        ([header(parentCommit="main")], 400),
        ([header(), {"key": "symlink", "value": {"path": "a"}}], 400),
        ([header(), {"key": "file", "value": {"path": "a", "content": "?", "encoding": "base64"}}], 400),
        ([header(), {"key": "file", "value": {"path": "a", "content": "", "encoding": "utf-8"}}], 400),
        ([header(), {"key": "file", "value": {"content": ""}}], 400),
        ([header(), {"key": "lfsFile", "value": {"path": "a", "oid": "x" * 64}}], 400),
        ([header(), {"key": "file", "value": "a"}], 400),
        ([header(), file("a", b"a"), file("a/b", b"b")], 400),
    ],
)  # fmt: skip
def test_a_body_that_is_wrong_is_refused_and_nothing_changes(
    owner: Client, lines: list[Any], status: int
) -> None:
    body = "\n".join(json.dumps(line) for line in lines)
    answer = owner.post(COMMIT, body, content_type="application/x-ndjson")
    assert answer.status_code == status
    assert answer.json()["error"]
    assert Commit.objects.count() == 1


def test_a_file_that_is_too_large_to_be_inside_is_refused_and_leaves_no_stage(
    owner: Client, settings: Any
) -> None:
    settings.HOLDFAST_REGULAR_UPLOAD_BYTES = 1000
    answer = commit(owner, file("large", bytes(10_000_001)))
    assert answer.status_code == 413
    assert list(blob_store().staged_names()) == []
    assert len(list(blob_store().list(BLOBS))) == 1


def test_a_full_disk_is_told_and_loses_nothing(owner: Client) -> None:
    commit(owner, file("before", b"before"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000_000, limits[1]))
    try:
        answer = commit(owner, file("large", bytes(10_000_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    if blob_store().name == "directory":
        assert answer.status_code == 507
        assert "disk is full" in answer.json()["error"]
    assert content()["before"] == b"before"
    assert commit(owner, file("large", bytes(10_000_000))).status_code == 200


def test_only_branches_are_committed_to(owner: Client, own: Repo) -> None:
    head = Ref.objects.get(repo=own, name="main").commit
    record_tag(head, "v1")
    for revision in ("v1", head.commit_hash):
        answer = commit(owner, file("a", b"a"), url=f"/api/models/acme/own/commit/{revision}")
        assert (answer.status_code, "no branch" in answer.json()["error"]) == (400, True)
    missing = commit(owner, file("a", b"a"), url="/api/models/acme/own/commit/nope")
    assert (missing.status_code, missing["X-Error-Code"]) == (404, "RevisionNotFound")


def test_who_may_not_write_is_refused(
    own: Repo, bob: User, charlie: User, writing: Writer, sign_in: Writer
) -> None:
    assert commit(Client(), file("a", b"a")).status_code == 401
    theirs = User.objects.get(username="alice")
    assert commit(sign_in(theirs), file("a", b"a")).status_code == 403  # a token that may only read
    assert commit(writing(bob), file("a", b"a")).status_code == 403
    assert commit(writing(charlie), file("a", b"a")).status_code == 403
    Repo.objects.filter(pk=own.pk).update(private=True)
    answer = commit(writing(charlie), file("a", b"a"))
    assert (answer.status_code, answer["X-Error-Code"]) == (404, "RepoNotFound")
    assert Commit.objects.count() == 1


def test_an_object_is_named_only_by_who_may_read_it(
    owner: Client, charlie: User, writing: Writer, organisation: Organisation
) -> None:
    weights = b"secret weights"
    record_commit("acme/hidden", {"w.safetensors": weights}, private=True, organisation=organisation)
    offer = f"{COMMIT}?create_pr=1"
    stolen = commit(writing(charlie), lfs_file("w.safetensors", sha256(weights)), url=offer)
    assert stolen.status_code == 400
    assert "not brought to acme/own" in stolen.json()["error"]
    assert commit(owner, lfs_file("w.safetensors", sha256(weights), size=3)).status_code == 400
    assert commit(owner, lfs_file("copy.safetensors", sha256(weights))).status_code == 200
    assert content()["copy.safetensors"] == weights


def test_a_pull_request_is_made_beside_the_branch_by_anybody_who_sees_the_repo(
    owner: Client, charlie: User, writing: Writer
) -> None:
    stranger = writing(charlie)
    told = commit(stranger, file("a", b"a"), url=f"{COMMIT}?create_pr=1", summary="Please").json()
    assert told["pullRequestUrl"] == "http://testserver/acme/own/discussions/1"
    assert (set(content(branch="1")), set(content())) == ({".gitattributes", "a"}, {".gitattributes"})
    more = "/api/models/acme/own/commit/refs%2Fpr%2F1"
    assert commit(stranger, file("b", b"b"), url=more).status_code == 200
    PullRequest.objects.update(status="closed")
    assert commit(stranger, file("c", b"c"), url=more).status_code == 403


def test_a_pull_request_is_made_against_a_branch_and_not_a_commit(owner: Client) -> None:
    first = Ref.objects.get(name="main").commit.commit_hash
    for revision in (first, "none"):
        answer = commit(owner, file("a", b"a"), url=f"/api/models/acme/own/commit/{revision}?create_pr=1")
        assert (answer.status_code, answer["X-Error-Code"]) == (404, "RevisionNotFound")
    assert not PullRequest.objects.exists()


@pytest.mark.parametrize(("size", "mode"), [(0, "regular"), (64_000_000, "regular"), (64_000_001, "lfs")])
def test_preupload_says_how_to_send_by_size(owner: Client, size: int, mode: str) -> None:
    [told] = preupload(owner, {"path": "w.bin", "size": size, "sample": ""})
    assert told == {"path": "w.bin", "uploadMode": mode, "shouldIgnore": False}


def test_preupload_warns_of_xet_only_where_it_matters(owner: Client) -> None:
    url, warned = "/api/models/acme/own/preupload/main", []
    for size in (1, 64_000_001):
        asked = {"files": [{"path": "w.bin", "size": size}]}
        answer = owner.post(url, asked, content_type="application/json")
        warned.append("HF_HUB_DISABLE_XET=1" in answer.headers.get("X-HF-Warning", ""))
    assert warned == [False, True]


def test_preupload_knows_what_is_there_in_the_unit_of_the_mode(owner: Client, settings: Any) -> None:
    commit(owner, file("a.txt", b"hello\n"), file("w.safetensors", b"hello\n"))
    asked = [{"path": path, "size": 6} for path in ("a.txt", "w.safetensors", "new")]
    by_git = "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object of "hello\n"
    assert [told.get("oid") for told in preupload(owner, *asked)] == [by_git, by_git, None]
    settings.HOLDFAST_REGULAR_UPLOAD_BYTES = 0
    assert [told.get("oid") for told in preupload(owner, *asked)] == [sha256(b"hello\n")] * 2 + [None]


def test_preupload_ignores_by_the_rules_that_are_sent_or_that_the_repo_has(owner: Client) -> None:
    commit(owner, file(".gitignore", b"*.log\n"))
    asked = [{"path": path, "size": 1} for path in ("x.log", "x.tmp")]
    assert [told["shouldIgnore"] for told in preupload(owner, *asked)] == [True, False]
    assert [told["shouldIgnore"] for told in preupload(owner, *asked, gitIgnore="*.tmp")] == [False, True]


def test_preupload_refuses_what_a_commit_would(owner: Client) -> None:
    asked = {"files": [{"path": "..\\x", "size": 1}]}
    url = "/api/models/acme/own/preupload/main"
    assert owner.post(url, asked, content_type="application/json").status_code == 422
    assert owner.post(url, {"files": 3}, content_type="application/json").status_code == 400
    assert Client().post(url, asked, content_type="application/json").status_code == 401


def preupload(owner: Client, *files: dict[str, Any], **more: str) -> list[dict[str, Any]]:
    asked = {"files": list(files)} | more
    answer = owner.post("/api/models/acme/own/preupload/main", asked, content_type="application/json")
    return list(answer.json()["files"])


def test_long_contents_do_not_care_where_blocks_end(owner: Client) -> None:
    contents = {f"{size}.txt": bytes(range(251)) * size for size in (1, 1000, 2089, 4000)}
    commit(owner, *(file(path, data) for path, data in contents.items()))
    assert {path: data for path, data in content().items() if path in contents} == contents
