"""Who a token belongs to and what it may see."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from registry.models import AccessToken, Commit
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
