"""Who a token belongs to and what it may see."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from registry.models import AccessToken, Commit, Repo, Upstream
from registry.namespaces import namespace_of
from tests.mirror.hub.conftest import Caller


def test_whoami_names_the_user_the_organisations_and_the_token(bob: User, sign_in: Caller) -> None:
    found = sign_in(bob).get("/api/whoami-v2").json()
    assert (found["type"], found["name"], found["isPro"]) == ("user", "bob", False)
    assert [(org["name"], org["roleInOrg"]) for org in found["orgs"]] == [("acme", "read")]
    assert found["auth"]["accessToken"]["role"] == "read"
    assert found["auth"]["accessToken"]["displayName"] == "test"


def test_whoami_without_a_good_token_is_401(client: Client, bob: User, sign_in: Caller) -> None:
    assert client.get("/api/whoami-v2").status_code == 401
    signed_in = sign_in(bob)
    AccessToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    response = signed_in.get("/api/whoami-v2")
    assert response["X-Error-Message"] == "Invalid credentials in Authorization header"


def test_a_token_of_somebody_who_left_is_dead(bob: User, sign_in: Caller) -> None:
    signed_in = sign_in(bob)
    bob.is_active = False
    bob.save(update_fields=["is_active"])
    assert signed_in.get("/api/whoami-v2").status_code == 401


def test_the_use_of_a_token_is_noted_once_an_hour(bob: User, sign_in: Caller) -> None:
    signed_in = sign_in(bob)
    signed_in.get("/api/models")
    first = AccessToken.objects.get().last_used_at
    assert first is not None
    signed_in.get("/api/models")
    assert AccessToken.objects.get().last_used_at == first
    AccessToken.objects.update(last_used_at=first - timedelta(hours=2))
    signed_in.get("/api/models")
    assert AccessToken.objects.get().last_used_at > first - timedelta(hours=1)


@pytest.mark.parametrize(("who", "status"), [("alice", 200), ("bob", 200), ("charlie", 404)])
@pytest.mark.usefixtures("alice", "bob", "charlie", "secret")
def test_auth_check_tells_who_may_read(sign_in: Caller, who: str, status: int) -> None:
    user = User.objects.get(username=who)
    assert sign_in(user).get("/api/models/acme/secret/auth-check").status_code == status


def test_auth_check_of_gated_files(client: Client, charlie_client: Client, commit: Commit) -> None:
    commit.repo.gated = "manual"
    commit.repo.save(update_fields=["gated"])
    assert client.get("/api/models/acme/tiny/auth-check")["X-Error-Code"] == "GatedRepo"
    assert charlie_client.get("/api/models/acme/tiny/auth-check").json() == {}


def test_what_is_gated_here_is_for_members(
    client: Client, secret: Commit, bob: User, charlie_client: Client, sign_in: Caller
) -> None:
    Repo.objects.update(private=False, gated="auto")
    url = "/api/models/acme/secret/auth-check"
    answers = [one.get(url) for one in (client, charlie_client, sign_in(bob))]
    assert [answer.status_code for answer in answers] == [401, 403, 200]
    assert {answer["X-Error-Code"] for answer in answers[:2]} == {"GatedRepo"}
    assert "for members of acme" in answers[1].json()["error"]
    Repo.objects.update(upstream=Upstream.objects.create(kind="huggingface", endpoint="https://hub.example"))
    assert charlie_client.get(url).status_code == 200  # gated upstream: an account here is enough


def test_ones_own_namespace_is_no_organisation_of_whoami(bob: User, sign_in: Caller) -> None:
    namespace_of(bob, None)
    assert [org["name"] for org in sign_in(bob).get("/api/whoami-v2").json()["orgs"]] == ["acme"]


@pytest.mark.parametrize(("who", "status"), [("alice", 200), ("bob", 403), ("charlie", 404)])
@pytest.mark.usefixtures("alice", "bob", "charlie", "secret")
def test_auth_check_write_tells_who_may_commit(
    sign_in: Caller, sign_in_to_write: Caller, who: str, status: int
) -> None:
    user = User.objects.get(username=who)
    url = "/api/models/acme/secret/auth-check/write"
    assert sign_in_to_write(user).get(url).status_code == status
    assert sign_in(user).get(url).status_code == 403  # a token that only reads
    assert Client().get(url).status_code == 401


def test_members_are_listed_page_by_page_to_those_with_an_account(
    client: Client, alice: User, bob: User, charlie_client: Client
) -> None:
    url = "/api/organizations/ACME/members"
    assert [(one["user"], one["role"]) for one in charlie_client.get(url).json()] == [
        ("alice", "admin"),
        ("bob", "read"),
    ]
    first = charlie_client.get(f"{url}?limit=1")
    following = first["Link"].split(">")[0].removeprefix("<http://testserver")
    assert [one["user"] for one in first.json() + charlie_client.get(following).json()] == ["alice", "bob"]
    assert charlie_client.get("/api/organizations/acme/overview").json()["numUsers"] == 2
    assert charlie_client.get("/api/users/Bob/overview").json()["user"] == "bob"
    for path in (url, "/api/organizations/acme/overview", "/api/users/bob/overview"):
        assert client.get(path).status_code == 404  # strangers are not told who is here
    for path in ("/api/users/none/overview", "/api/organizations/none/members", "/api/users/a%00/overview"):
        assert charlie_client.get(path).status_code == 404


def validate(client: Client, content: object) -> tuple[int, list[str], list[str]]:
    answer = client.post("/api/validate-yaml", {"content": content, "repoType": "model"}, "application/json")
    found = answer.json()
    faults, warnings = found.get("errors", []), found.get("warnings", [])
    return answer.status_code, [one["message"] for one in faults], [one["message"] for one in warnings]


@pytest.mark.parametrize(("front", "fault"), [
    ("model-index: foo", '"model-index" must be a list'),
    ("license: [a: b]", '"license" must be a text'),
    ("tags: {a: b}", '"tags" must be a text or a list'),
    ("a: [", "not valid YAML"),
    ("a: &x [1]\nb: *x", "aliases"),
    ("- a", "not a list of keys and values"),
])  # fmt: skip
def test_a_card_that_is_not_understood_is_told_why(charlie_client: Client, front: str, fault: str) -> None:
    status, faults, _ = validate(charlie_client, f"\n---\n{front}\n---\n# Hello\n")
    assert status == 400
    assert fault in " ".join(faults)


def test_a_sound_card_is_sound_and_an_empty_one_is_pointed_at(charlie_client: Client, client: Client) -> None:
    sound = "---\nlicense: mit\nlanguage: [no, en]\nmodel-index: [{name: x}]\n---\n"
    assert validate(charlie_client, sound) == (200, [], [])
    status, faults, warnings = validate(charlie_client, "# No metadata")
    assert (status, faults, len(warnings)) == (200, [], 1)
    assert validate(charlie_client, 7)[0] == 400
    assert validate(client, sound)[0] == 401
