"""`manage.py token`: the secret is shown once, listed never, and dead when withdrawn."""

import json
import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from registry.models import AccessToken


def token(*arguments: str) -> Any:
    """What the command prints with --json."""
    out = StringIO()
    call_command("token", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def is_accepted(secret: str) -> bool:
    return Client().get("/api/whoami-v2", headers={"Authorization": f"Bearer {secret}"}).status_code == 200


def test_a_token_works_until_it_is_revoked(bob: User) -> None:
    made = token("create", "bob", "--name", "laptop")
    assert made["role"] == "read"
    assert re.fullmatch(r"hf_[A-Za-z0-9]{34,253}", made["token"])  # the form that llama.cpp sends
    assert is_accepted(made["token"])
    assert token("revoke", str(made["id"]))["name"] == "laptop"
    assert not is_accepted(made["token"])


def test_a_token_may_be_revoked_by_its_secret(bob: User) -> None:
    made = token("create", "bob", "--write")
    assert made["role"] == "write"
    token("revoke", made["token"])
    assert not AccessToken.objects.exists()


def test_the_list_shows_no_secret(bob: User, alice: User) -> None:
    secret = token("create", "bob")["token"]
    token("create", "alice")
    assert [row["user"] for row in token("list")] == ["bob", "alice"]
    assert secret not in json.dumps(token("list", "bob"))
    assert secret.startswith(token("list", "bob")[0]["prefix"])


def test_stdout_is_the_secret_alone(bob: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("token", "create", "bob")
    assert is_accepted(capsys.readouterr().out.strip())
    call_command("token", "list")
    assert "bob" in capsys.readouterr().out


def test_an_unknown_user_is_named_with_a_remedy(db: None) -> None:
    with pytest.raises(CommandError, match=r"no user 'nobody'.*--new-user"):
        token("create", "nobody")
    assert is_accepted(token("create", "nobody", "--new-user")["token"])


@pytest.mark.parametrize("wrong", ["99", "hf_wrong", "9" * 30])
def test_revoking_what_is_not_there_fails(db: None, wrong: str) -> None:
    with pytest.raises(CommandError, match="no such token"):
        token("revoke", wrong)
