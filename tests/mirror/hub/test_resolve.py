"""Downloads: headers, ranges, conditions, redirects, encodings, refusals."""

import base64
import hashlib
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client

from mirror.blobs.store import blob_key
from mirror.store import blob_store
from registry import git
from registry.models import Blob, Commit
from tests.checkpoints import record_commit, record_tag
from tests.mirror.hub.conftest import FILES, WEIGHTS, Caller

# What is the store's own is in test_delivery.py, and runs on both.
pytestmark = pytest.mark.one_backend

SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
MODEL = "/acme/tiny/resolve/main/model.safetensors"


def body(response: Any) -> bytes:
    return bytes(response.getvalue())


def status(response: Any) -> int:
    """The status of a response that was read to its end, as a client would."""
    body(response)
    return int(response.status_code)


def test_head_answers_200_itself_with_every_header(client: Client, commit: Commit) -> None:
    response = client.head(MODEL)
    assert response.status_code == 200
    assert response["ETag"] == response["X-Linked-Etag"] == f'"{SHA256}"'
    assert response["Content-Length"] == response["X-Linked-Size"] == str(len(WEIGHTS))
    assert response["X-Repo-Commit"] == commit.commit_hash
    assert response["Accept-Ranges"] == "bytes"
    assert response["Content-Disposition"].startswith("attachment; filename*=UTF-8''model.safetensors;")
    assert "Location" not in response
    assert not [name for name in response.headers if name.lower().startswith("x-xet")]


def test_a_small_file_has_gits_own_etag(client: Client, commit: Commit) -> None:
    response = client.get("/acme/tiny/resolve/main/config.json")
    assert body(response) == FILES["config.json"]
    assert response["ETag"] == f'"{git.git_blob_oid(FILES["config.json"])}"'


def test_get_gives_the_bytes(client: Client, commit: Commit) -> None:
    response = client.get(MODEL + "?download=true")
    assert response.status_code == 200
    assert body(response) == WEIGHTS
    assert response["Content-Length"] == str(len(WEIGHTS))


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, None),
        ("bytes=-7", -7, None),
        ("bytes=10000-99999999", 10000, None),
    ],
)
def test_a_range_is_206(client: Client, commit: Commit, asked: str, start: int, end: int | None) -> None:
    response = client.get(MODEL, headers={"Range": asked})
    assert response.status_code == 206
    assert body(response) == WEIGHTS[start:end]
    assert response["Content-Length"] == str(len(WEIGHTS[start:end]))
    first = start % len(WEIGHTS)
    last = first + len(WEIGHTS[start:end]) - 1
    assert response["Content-Range"] == f"bytes {first}-{last}/{len(WEIGHTS)}"


def test_a_range_beyond_the_end_is_416_with_the_size(client: Client, commit: Commit) -> None:
    response = client.get(MODEL, headers={"Range": f"bytes={len(WEIGHTS)}-"})
    assert response.status_code == 416
    assert response["Content-Range"] == f"bytes */{len(WEIGHTS)}"


def test_an_empty_file_is_served_and_has_no_range(client: Client, commit: Commit) -> None:
    whole = client.get("/acme/tiny/resolve/main/empty.txt")
    assert (whole.status_code, body(whole), whole["Content-Length"]) == (200, b"", "0")
    assert status(client.get("/acme/tiny/resolve/main/empty.txt", headers={"Range": "bytes=0-"})) == 416


def test_many_ranges_in_one_request_get_the_whole_file_once(client: Client, commit: Commit) -> None:
    many = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 1000, 2))
    response = client.get(MODEL, headers={"Range": many})
    assert response.status_code == 200
    assert body(response) == WEIGHTS


def test_if_range_with_another_etag_restarts(client: Client, commit: Commit) -> None:
    same = client.get(MODEL, headers={"Range": "bytes=5-", "If-Range": f'"{SHA256}"'})
    other = client.get(MODEL, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (status(same), other.status_code) == (206, 200)
    assert body(other) == WEIGHTS


def test_if_none_match_is_304(client: Client, commit: Commit) -> None:
    response = client.get(MODEL, headers={"If-None-Match": f'"{SHA256}"'})
    assert response.status_code == 304
    assert response["ETag"] == f'"{SHA256}"'
    assert body(response) == b""


def test_only_what_a_full_hash_names_is_immutable(client: Client, commit: Commit) -> None:
    pinned = client.head(f"/acme/tiny/resolve/{commit.commit_hash}/config.json")
    assert "immutable" in pinned["Cache-Control"]
    for revision in ("main", "refs%2Fheads%2Fmain", commit.commit_hash[:12]):
        assert (
            client.head(f"/acme/tiny/resolve/{revision}/config.json")["Cache-Control"] == "public, no-cache"
        )


def test_a_private_file_is_never_for_shared_caches(alice_client: Client, secret: Commit) -> None:
    answer = alice_client.head(f"/acme/secret/resolve/{secret.commit_hash}/config.json")
    assert answer["Cache-Control"].startswith("private")


# --- encodings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_raw", [True, False])
@pytest.mark.parametrize(
    ("sent", "path"),
    [("deep/a/b.txt", "deep/a/b.txt"), ("deep%2Fa%2Fb.txt", "deep/a/b.txt"),
     ("deep/a%2525b%23c.txt", "deep/a%25b#c.txt"), ("deep/na%C3%AFve%20%C3%BC.txt", "deep/naïve ü.txt")],
)  # fmt: skip
def test_percent_encoding_is_undone_once(
    client: Client, commit: Commit, sent: str, path: str, has_raw: bool
) -> None:
    url = f"/acme/tiny/resolve/main/{sent}"
    response = client.get(url, **({"RAW_URI": url} if has_raw else {}))
    assert response.status_code == 200, response.content
    assert body(response) == FILES[path]


@pytest.mark.parametrize("has_raw", [True, False])
@pytest.mark.parametrize(
    "revision", ["feat%2Fx", "refs%2Fheads%2Ffeat%2Fx", "refs%2Ftags%2Fv%2F1", "v%2F1", "feat/x"]
)
def test_a_revision_may_hold_slashes(client: Client, commit: Commit, revision: str, has_raw: bool) -> None:
    other = record_commit("acme/tiny", {"deep/a.txt": b"of the branch"}, branch="feat/x")
    record_tag(other, "v/1")
    url = f"/acme/tiny/resolve/{revision}/deep/a.txt"
    response = client.get(url, **({"RAW_URI": url + "?download=true"} if has_raw else {}))
    assert body(response) == b"of the branch"
    assert response["X-Repo-Commit"] == other.commit_hash


def test_the_raw_path_decides_between_a_branch_and_a_folder(client: Client, commit: Commit) -> None:
    record_commit("acme/tiny", {"b/c.txt": b"branch a"}, branch="a")
    record_commit("acme/tiny", {"c.txt": b"branch a/b"}, branch="dev")
    record_commit("acme/tiny", {"c.txt": b"branch a/b"}, branch="a/b")
    plain, encoded = "/acme/tiny/resolve/a/b/c.txt", "/acme/tiny/resolve/a%2Fb/c.txt"
    assert body(client.get(plain, RAW_URI=plain)) == b"branch a"
    assert body(client.get(encoded, RAW_URI=encoded)) == b"branch a/b"


def test_an_absolute_request_target_is_understood(client: Client, commit: Commit) -> None:
    url = "/acme/tiny/resolve/refs%2Fheads%2Fmain/config.json"
    assert status(client.get(url, RAW_URI=f"http://proxy.example{url}")) == 200


@pytest.mark.parametrize(
    "nasty", ["../../etc/passwd", "%2e%2e/x", "a%00b", "%ff%fe", "a//b", "", "deep", "deep/"]
)
@pytest.mark.parametrize("has_raw", [True, False])
def test_no_path_leads_out_of_the_commit(client: Client, commit: Commit, nasty: str, has_raw: bool) -> None:
    url = f"/acme/tiny/resolve/main/{nasty}"
    response = client.get(url, **({"RAW_URI": url} if has_raw else {}))
    assert response.status_code == 404


@pytest.mark.parametrize("revision", ["a%00b", "%ff", "no", "0" * 40, "abc", "main%0d%0aX-Evil:%201"])
def test_an_unknown_revision_says_so(client: Client, commit: Commit, revision: str) -> None:
    url = f"/acme/tiny/resolve/{revision}/config.json"
    response = client.get(url, RAW_URI=url)
    assert (response.status_code, response["X-Error-Code"]) == (404, "RevisionNotFound")
    assert "X-Evil" not in response.headers


# --- refusals --------------------------------------------------------------------------------------------


def test_a_missing_file_carries_the_commit(client: Client, commit: Commit) -> None:
    response = client.head("/acme/tiny/resolve/main/no.txt")
    assert (response.status_code, response["X-Error-Code"]) == (404, "EntryNotFound")
    assert response["X-Repo-Commit"] == commit.commit_hash
    assert "no.txt" in response["X-Error-Message"]


def test_checks_go_repo_revision_entry(client: Client, commit: Commit) -> None:
    for url, code in [
        ("/acme/none/resolve/none/none", "RepoNotFound"),
        ("/acme/tiny/resolve/none/none", "RevisionNotFound"),
        ("/acme/tiny/resolve/main/none", "EntryNotFound"),
        ("/gpt2/resolve/main/config.json", "RepoNotFound"),
        ("/datasets/acme/tiny/resolve/main/config.json", "RepoNotFound"),
        ("/datasets/squad/resolve/main/config.json", "RepoNotFound"),
    ]:
        assert client.get(url)["X-Error-Code"] == code, url


def test_a_private_repo_looks_like_a_missing_one(
    client: Client, charlie_client: Client, secret: Commit
) -> None:
    for somebody, status in [(client, 401), (charlie_client, 404)]:
        there = somebody.get("/acme/secret/resolve/main/config.json")
        absent = somebody.get("/acme/absent/resolve/main/config.json")
        assert there.status_code == absent.status_code == status
        assert there.content == absent.content.replace(b"absent", b"secret")
        told = {k: v.replace("absent", "secret") for k, v in absent.items()}
        assert dict(there.items()) == told | {"Content-Length": there["Content-Length"]}


def test_members_read_private_files_by_token_password_or_session(
    alice: User, bob: User, sign_in: Caller, client: Client, secret: Commit
) -> None:
    url = "/acme/secret/resolve/main/config.json"
    assert status(sign_in(bob).get(url)) == 200
    token = sign_in(alice).defaults["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    basic = base64.b64encode(f"alice:{token}".encode()).decode()
    assert status(client.get(url, headers={"Authorization": f"Basic {basic}"})) == 200
    client.force_login(bob)
    assert status(client.get(url)) == 200


@pytest.mark.parametrize(
    "header", ["Bearer hf_wrong", "Basic !!!", "Basic aGk=", "Bearer", "Digest x", "Bearer \xff"]
)
def test_a_bad_token_is_no_missing_repo(client: Client, commit: Commit, header: str) -> None:
    response = client.get(MODEL, headers={"Authorization": header})
    assert response.status_code == 401
    assert response["X-Error-Message"] == "Invalid credentials in Authorization header"
    assert "X-Error-Code" not in response


def test_gated_files_need_an_account(client: Client, charlie_client: Client, commit: Commit) -> None:
    commit.repo.gated = "auto"
    commit.repo.save(update_fields=["gated"])
    response = client.head(MODEL)
    assert (response.status_code, response["X-Error-Code"]) == (401, "GatedRepo")
    assert client.get("/api/models/acme/tiny").json()["gated"] == "auto"
    answer = charlie_client.head(MODEL)
    assert answer.status_code == 200
    assert answer["Cache-Control"].startswith("private")


def test_another_spelling_is_redirected_on_the_same_host(client: Client, commit: Commit) -> None:
    url = "/ACME/Tiny/resolve/refs%2Fheads%2Fmain/deep%2Fa%2Fb.txt?download=true"
    response = client.get(url, RAW_URI=url)
    assert response.status_code == 307
    assert response["Location"] == "/acme/tiny/resolve/refs%2Fheads%2Fmain/deep%2Fa%2Fb.txt?download=true"
    assert status(client.get("/API/models/acme/tiny")) == 404


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_other_methods_are_refused(client: Client, commit: Commit, method: str) -> None:
    response = getattr(client, method)(MODEL)
    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD"


# --- bytes we cannot vouch for -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["damaged", "missing"])
def test_a_blob_known_to_be_bad_is_refused_and_not_called_absent(
    client: Client, commit: Commit, state: str
) -> None:
    Blob.objects.filter(sha256=SHA256).update(state=state)
    for answer in (client.head(MODEL), client.get(MODEL), client.get(MODEL, headers={"Range": "bytes=0-1"})):
        assert (answer.status_code, answer["X-Error-Code"]) == (503, "BytesUnavailable")
        assert state in answer["X-Error-Message"]


@pytest.mark.parametrize("way", ["inline", "auto", "xaccel"])
def test_bytes_that_vanished_from_the_store_are_refused(
    client: Client, commit: Commit, settings: Any, caplog: Any, way: str
) -> None:
    settings.HOLDFAST_BLOB_DELIVERY = way
    blob_store().delete(blob_key(SHA256))
    response = client.get(MODEL)
    assert (response.status_code, response["X-Error-Code"]) == (503, "BytesUnavailable")
    assert SHA256 in caplog.text


def test_a_truncated_file_in_the_store_is_refused(client: Client, commit: Commit) -> None:
    path = blob_store().local_path(blob_key(SHA256))
    if path is None:
        pytest.skip("only a directory can be cut from outside")
    path.chmod(0o644)
    path.write_bytes(WEIGHTS[:-1])
    assert client.head(MODEL).status_code == status(client.get(MODEL)) == 503


# --- ways to deliver ---------------------------------------------------------------------------------------


def test_a_store_with_addresses_redirects_get_but_not_head(
    client: Client, commit: Commit, settings: Any
) -> None:
    settings.HOLDFAST_BLOB_DELIVERY = "auto"
    if blob_store().name != "s3":
        assert status(client.get(MODEL)) == 200
        return
    assert client.head(MODEL).status_code == 200
    response = client.get(MODEL)
    assert response.status_code == 302
    assert response["X-Linked-Size"] == str(len(WEIGHTS))
    assert response["Cache-Control"] == "no-store"
    assert response["X-Repo-Commit"] == commit.commit_hash


def test_nginx_is_told_where_the_bytes_are(client: Client, commit: Commit, settings: Any) -> None:
    settings.HOLDFAST_BLOB_DELIVERY = "xaccel"
    response = client.get(MODEL)
    if blob_store().name != "directory":
        assert body(response) == WEIGHTS  # nginx has no directory to serve it from
        return
    assert response["X-Accel-Redirect"] == f"/_blobs/{blob_key(SHA256)}"
    assert response.content == b""
    assert "X-Accel-Redirect" not in client.head(MODEL)


def test_a_store_without_plain_files_is_streamed_by_range(
    client: Client, commit: Commit, settings: Any
) -> None:
    from mirror.hub import delivery

    reader = blob_store().open(blob_key(SHA256), 3, 5)
    response = delivery.BytesResponse(reader)
    assert response.getvalue() == WEIGHTS[3:8]


@pytest.mark.parametrize(
    ("name", "content_type", "way"),
    [("x.html", "application/octet-stream", "attachment"), ("x.svg", "application/octet-stream", "attachment"),
     ("x.js", "application/octet-stream", "attachment"), ("x.pdf", "application/octet-stream", "attachment"),
     ("x.md", "text/plain; charset=utf-8", "inline"), ("x.png", "image/png", "inline"),
     ('a"b\r\nc.html', "application/octet-stream", "attachment")],
)  # fmt: skip
def test_what_an_author_wrote_is_never_active(
    client: Client, db: None, name: str, content_type: str, way: str
) -> None:
    record_commit("evil/repo", {name: b"<script>alert(1)</script>"})
    for endpoint in ("resolve", "raw"):
        response = client.get(f"/evil/repo/{endpoint}/main/{quote(name)}")
        body(response)
        assert response["Content-Type"] == content_type
        assert response["Content-Disposition"].startswith(way)
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_raw_gives_the_pointer_of_an_lfs_file(client: Client, commit: Commit) -> None:
    response = client.get("/acme/tiny/raw/main/model.safetensors")
    assert response.content == git.lfs_pointer(SHA256, len(WEIGHTS))
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert body(client.get("/acme/tiny/raw/main/config.json")) == FILES["config.json"]


def test_the_request_id_comes_back(client: Client, commit: Commit) -> None:
    assert client.head(MODEL, headers={"X-Amzn-Trace-Id": "abc-123"})["X-Request-Id"] == "abc-123"
    assert "X-Request-Id" not in client.head(MODEL, headers={"X-Amzn-Trace-Id": "a b\tc"})


# --- cost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_files", [3, 60])
@pytest.mark.parametrize("revision", ["main", "dev", "hash"])
def test_a_download_takes_at_most_four_queries(
    alice: User, sign_in: Caller, django_assert_max_num_queries: Any, n_files: int, revision: str
) -> None:
    files = {f"folder/{number}.txt": b"x" for number in range(n_files)}
    record_commit("acme/many", files)
    commit = record_commit("acme/many", files, branch="dev", message="again")
    revision = commit.commit_hash if revision == "hash" else revision
    client = sign_in(alice)
    url = f"/acme/many/resolve/{revision}/folder/1.txt"
    client.head(url)  # notes the first use of the token
    for call in (client.get, client.head):
        with django_assert_max_num_queries(4):
            assert status(call(url, RAW_URI=url)) == 200


def test_every_answer_carries_the_digest_of_the_whole_file(client: Client, commit: Commit) -> None:
    value = base64.b64encode(bytes.fromhex(SHA256)).decode()
    for headers in ({}, {"Range": "bytes=5-9"}):
        response = client.get(MODEL, headers=headers)
        assert status(response) in (200, 206)
        assert response["Repr-Digest"] == f"sha-256=:{value}:"
        assert response["Digest"] == f"sha-256={value}"


def test_the_sums_of_a_commit_are_what_sha256sum_reads(
    client: Client, organisation: object, tmp_path: Path
) -> None:
    files = FILES | {"odd\nname\\here.txt": b"odd"}
    record_commit("acme/sums", files)
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    response = client.get("/acme/sums/sha256sums/main")
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    check = ["sha256sum", "--check", "--strict", "--quiet", "-"]
    done = subprocess.run(check, input=response.content, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert response.content.count(b"\n") == len(files)


def test_sums_of_a_private_repo_are_refused_like_everything_of_it(client: Client, secret: Commit) -> None:
    assert client.get("/acme/secret/sha256sums/main").status_code == 401
