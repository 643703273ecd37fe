"""Who is let in, what is refused, and in words that git prints."""

import hashlib
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from dulwich.protocol import pkt_line

from registry.models import AccessToken, Repo
from tests.checkpoints import record_commit

pytestmark = pytest.mark.django_db

OFFER = "/acme/tiny.git/info/refs?service=git-upload-pack"
V2 = {"Git-Protocol": "version=2"}


def body_of(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def test_git_is_asked_for_credentials_in_plain_text(client: Client) -> None:
    record_commit("acme/tiny", {}, private=True)
    for url in (OFFER, OFFER.replace("tiny", "nothing")):
        answer = client.get(url)
        assert (answer.status_code, answer["Content-Type"]) == (401, "text/plain; charset=utf-8")
        assert answer["WWW-Authenticate"].startswith("Basic ")
        assert answer.content.startswith(b"Repository not found: acme/")


def test_a_gated_repo_is_cloned_by_those_who_have_an_account(client: Client, charlie: User) -> None:
    commit = record_commit("acme/tiny", {})
    Repo.objects.filter(pk=commit.repo_id).update(gated="auto")
    assert client.get(OFFER).status_code == 401
    _, token = AccessToken.issue(charlie, name="test")
    allowed = client.get(OFFER, headers={"Authorization": f"Bearer {token}"})
    assert f"{commit.commit_hash} HEAD".encode() in body_of(allowed)


def test_other_services_are_refused(client: Client) -> None:
    record_commit("acme/tiny", {})
    push = client.get(OFFER.replace("upload", "receive"))
    assert (push.status_code, push["Content-Type"]) == (403, "text/plain; charset=utf-8")
    assert b"hf upload" in push.content
    assert client.post("/acme/tiny/git-receive-pack").status_code == 403
    assert client.get("/acme/tiny.git/info/refs").status_code == 404
    assert client.get("/acme/tiny.git/git-upload-pack").status_code == 405


def test_what_cannot_be_answered_is_an_error_that_git_prints(client: Client) -> None:
    record_commit("acme/tiny", {})
    body = (
        pkt_line(b"command=fetch\n") + b"0001" + pkt_line(b"want " + b"f" * 40) + pkt_line(b"done") + b"0000"
    )
    answer = client.post("/acme/tiny/git-upload-pack", body, content_type="application/x-git", headers=V2)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/x-git-upload-pack-result")
    assert body_of(answer) == pkt_line(b"ERR upload-pack: not our ref " + b"f" * 40)


def test_a_client_without_capabilities_gets_a_plain_pack(client: Client) -> None:
    first = record_commit("acme/tiny", {"a.txt": b"1"}).commit_hash
    second = record_commit("acme/tiny", {"a.txt": b"2"}).commit_hash
    want, have = pkt_line(f"want {second}".encode()) + b"0000", pkt_line(f"have {first}".encode())

    def asked(*rest: bytes) -> bytes:
        body = want + b"".join(rest)
        return body_of(client.post("/acme/tiny/git-upload-pack", body, content_type="x/git"))

    assert asked(have, b"0000") == pkt_line(f"ACK {first}\n".encode())
    for rest, start in (([], b"NAK\n"), ([have], f"ACK {first}\n".encode())):
        answer = asked(*rest, pkt_line(b"done"))
        assert answer.startswith(pkt_line(start) + b"PACK")
        assert hashlib.sha1(answer[len(pkt_line(start)) : -20]).digest() == answer[-20:]


def test_a_repo_of_which_files_are_missing_is_no_empty_repo(client: Client) -> None:
    record_commit("acme/tiny", {"a.txt": b"a"}, is_complete=False)
    answer = body_of(client.get(OFFER))
    assert answer.startswith(b"00")
    assert b"ERR not every file of acme/tiny is held here yet" in answer


@pytest.mark.parametrize("n_commits", [1, 6])
def test_a_clone_takes_as_many_queries_however_long_the_history_is(
    client: Client, n_commits: int, django_assert_num_queries: Any
) -> None:
    """Besides one for each commit: its files."""
    for number in range(n_commits):
        commit = record_commit("acme/tiny", {"a.txt": b"%d" % number})
    with django_assert_num_queries(4):
        assert commit.commit_hash.encode() in body_of(client.get(OFFER))
    body = pkt_line(b"command=fetch\n") + b"0001" + pkt_line(f"want {commit.commit_hash}".encode())
    body += pkt_line(b"done") + b"0000"
    with django_assert_num_queries(4 + n_commits):
        packed = body_of(client.post("/acme/tiny/git-upload-pack", body, content_type="x/git", headers=V2))
    assert b"PACK" in packed
