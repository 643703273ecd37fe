"""LFS objects: announced, sent, verified by us, and only then there; nobody gets bytes by knowing their name."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.test import Client

from mirror.blobs.keys import BLOBS
from mirror.hub.committing import refusals
from mirror.hub.errors import HubError
from mirror.store import blob_store
from mirror.uploads.verifying import wait_for_objects
from registry.models import Commit, Job, Organisation, Repo, Upload
from tests.checkpoints import record_commit
from tests.mirror.hub.conftest import Caller
from tests.mirror.hub.uploading import BATCH, COMMIT, ask, commit, content, lfs_file, put, sha256

MIB = 1 << 20
DATA = bytes(range(256)) * 40
PARTS = bytes(range(251)) * 46_000
"""A bit more than two parts of 5 MiB."""


def href(answer: Any) -> str:
    found: str = answer.json()["objects"][0]["actions"]["upload"]["href"]
    return found


def verified(owner: Client, data: bytes, size: int | None = None) -> Any:
    asked = {"oid": sha256(data), "size": len(data) if size is None else size}
    return owner.post("/acme/own.git/info/lfs/verify", asked, content_type="application/vnd.git-lfs+json")


def n_blobs() -> int:
    return len(list(blob_store().list(BLOBS)))


def test_an_object_that_was_sent_whole_can_be_named_at_once(owner: Client) -> None:
    answer = ask(owner, DATA)
    assert answer.json()["transfer"] == "basic"
    assert put(Client(), href(answer), DATA).status_code == 200  # no token: the address is the permission
    assert verified(owner, DATA).status_code == 200
    assert commit(owner, lfs_file("w.bin", sha256(DATA), size=len(DATA))).status_code == 200
    assert content()["w.bin"] == DATA
    assert not Upload.objects.exists()
    assert "actions" not in ask(owner, DATA).json()["objects"][0]


def test_what_was_not_sent_yet_cannot_be_named(owner: Client) -> None:
    ask(owner, DATA)
    answer = commit(owner, lfs_file("w.bin", sha256(DATA)))
    assert (answer.status_code, "not verified" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("sent", [DATA[::-1], DATA[:-1], DATA + b"x", b""])
def test_other_bytes_than_announced_are_refused_and_nothing_stays(owner: Client, sent: bytes) -> None:
    before = n_blobs()
    answer = put(owner, href(ask(owner, DATA)), sent)
    assert answer.status_code in (400, 422)
    assert n_blobs() == before
    assert list(blob_store().staged_names()) == []
    assert put(owner, href(ask(owner, DATA)), DATA).status_code == 200


def test_what_a_try_that_broke_off_left_does_no_harm(owner: Client) -> None:
    address = href(ask(owner, DATA))
    upload = Upload.objects.get()
    with blob_store().stage(f"upload-{upload.pk}-{upload.sha256[:16]}") as staged:
        staged.write(b"the beginning of something else")
    assert put(owner, address, DATA).status_code == 200


def test_an_address_is_ours_and_has_an_end(owner: Client, settings: Any) -> None:
    address = href(ask(owner, DATA))
    assert put(owner, address + "x", DATA).status_code == 403
    forged = signing.dumps([1, 0], salt="something else")
    assert put(owner, f"/api/holdfast/v1/uploads/{forged}", DATA).status_code == 403
    settings.SECRET_KEY = "another registry's secret"
    assert put(owner, address, DATA).status_code == 403


@pytest.mark.parametrize("closed", [{"private": True}, {"gated": "manual"}])
def test_an_object_of_a_closed_repo_must_be_sent_by_who_may_not_read_it(
    owner: Client, charlie: User, writing: Caller, organisation: Organisation, closed: Any
) -> None:
    record_commit("acme/hidden", {"w.safetensors": DATA}, organisation=organisation, **closed)
    assert "actions" not in ask(owner, DATA).json()["objects"][0]
    assert "actions" in ask(writing(charlie), DATA).json()["objects"][0]


def test_what_others_brought_counts_for_writers_and_not_for_who_offers(
    owner: Client, charlie: User, writing: Caller
) -> None:
    put(owner, href(ask(owner, DATA)), DATA)
    stranger, offer = writing(charlie), f"{COMMIT}?create_pr=1"
    assert commit(stranger, lfs_file("w.bin", sha256(DATA)), url=offer).status_code == 400
    address = href(ask(stranger, DATA))
    assert (
        commit(stranger, lfs_file("w.bin", sha256(DATA)), url=offer).status_code == 400
    )  # asking is not sending
    put(stranger, address, DATA)
    assert commit(stranger, lfs_file("w.bin", sha256(DATA)), url=offer).status_code == 200


def test_who_may_not_write_or_offer_gets_no_address(
    owner: Client, own: Repo, bob: User, sign_in: Caller
) -> None:
    assert ask(Client(), DATA).status_code == 401
    assert ask(sign_in(bob), DATA).status_code == 403
    Repo.objects.filter(pk=own.pk).update(private=True)
    assert ask(Client(), DATA)["X-Error-Code"] == "RepoNotFound"
    assert not Upload.objects.exists()


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"{", 400),
        ({"operation": "steal", "objects": []}, 422),
        ({"operation": "upload"}, 422),
        ({"operation": "upload", "objects": [{"oid": "x", "size": 1}]}, 422),
        ({"operation": "upload", "objects": [{"oid": "0" * 64, "size": -1}]}, 422),
        ({"operation": "upload", "objects": [{"oid": "0" * 64, "size": True}]}, 422),
        ({"operation": "upload", "objects": [], "hash_algo": "sha1"}, 409),
    ],
)  # fmt: skip
def test_a_batch_that_is_wrong_is_refused(owner: Client, asked: Any, status: int) -> None:
    body = asked if isinstance(asked, bytes) else json.dumps(asked)
    assert owner.post(BATCH, body, content_type="application/vnd.git-lfs+json").status_code == status


def test_git_lfs_is_told_where_to_download(owner: Client) -> None:
    put(owner, href(ask(owner, DATA)), DATA)
    commit(owner, lfs_file("a b/w.bin", sha256(DATA)))
    asked = {
        "operation": "download",
        "objects": [{"oid": sha256(DATA), "size": len(DATA)}, {"oid": "0" * 64, "size": 1}],
    }
    there, missing = Client().post(BATCH, asked, content_type="application/json").json()["objects"]
    url = there["actions"]["download"]["href"].removeprefix("http://testserver")
    assert b"".join(Client().get(url).streaming_content) == DATA  # type: ignore[attr-defined]
    assert missing["error"]["code"] == 404


# --- in parts: hashed by a job, whose heart beats in a thread of its own ---------------------------------


@pytest.fixture
def in_parts(transactional_db: None, settings: Any, owner: Client) -> dict[str, str]:
    """The `header` of an upload of PARTS in parts, and under `end` where it ends."""
    settings.HOLDFAST_UPLOAD_PART_BYTES = 5 * MIB
    answer = ask(owner, PARTS, transfers=("basic", "multipart")).json()
    assert answer["transfer"] == "multipart"
    action = answer["objects"][0]["actions"]["upload"]
    return {**action["header"], "end": action["href"]}


def send(owner: Client, in_parts: dict[str, str], *numbers: int, data: bytes = PARTS) -> None:
    size = int(in_parts["chunk_size"])
    for number in numbers:
        answer = put(owner, in_parts[str(number)], data[(number - 1) * size : number * size])
        assert (answer.status_code, bool(answer["ETag"])) == (200, True)


def end(owner: Client, in_parts: dict[str, str]) -> Any:
    return owner.post(in_parts["end"].removeprefix("http://testserver"), {}, content_type="application/json")


def test_parts_are_put_together_verified_and_named(owner: Client, in_parts: dict[str, str]) -> None:
    assert set(in_parts) == {"chunk_size", "1", "2", "3", "end"}
    send(owner, in_parts, 2)
    answer = end(owner, in_parts)
    assert (answer.status_code, "Send it again" in answer.json()["error"]) == (400, True)
    send(owner, in_parts, 3, 1, 2)
    assert end(owner, in_parts).status_code == 200
    assert commit(owner, lfs_file("w.bin", sha256(PARTS))).status_code == 200  # waits for the hashing itself
    assert content()["w.bin"] == PARTS
    assert list(blob_store().staged_names()) == []


def test_parts_that_are_wrong_together_are_thrown_away(owner: Client, in_parts: dict[str, str]) -> None:
    before = n_blobs()
    send(owner, in_parts, 1, 2, 3, data=PARTS[::-1])
    end(owner, in_parts)
    answer = verified(owner, PARTS)
    assert answer.status_code == 422
    assert sha256(PARTS[::-1]) in answer.json()["error"]
    assert commit(owner, lfs_file("w.bin", sha256(PARTS))).status_code == 400
    assert (n_blobs(), list(blob_store().staged_names()), Upload.objects.count()) == (before, [], 0)


def test_while_an_object_is_hashed_elsewhere_the_commit_waits_for_it(
    owner: Client, in_parts: dict[str, str], own: Repo
) -> None:
    send(owner, in_parts, 1, 2, 3)
    end(owner, in_parts)
    job = Job.objects.get(kind="verify")
    assert Job.objects.claim(job.pk, "another worker")
    with (
        pytest.raises(HubError, match="still being verified") as refusal,
        refusals(own, Commit.objects.get(repo=own)),
    ):
        wait_for_objects(own, {sha256(PARTS)}, patience_seconds=0.2)
    assert (refusal.value.status, refusal.value.headers["Retry-After"]) == (503, "5")
    assert "actions" not in ask(owner, PARTS).json()["objects"][0]
