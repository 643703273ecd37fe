"""`manage.py organisation`: who owns, writes and reads what, from the shell."""

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from registry.access import may_create_in, may_own, may_write
from registry.models import Event, Organisation
from tests.checkpoints import record_commit


def organisation_command(*arguments: str) -> Any:
    """What the command prints with --json."""
    out = StringIO()
    call_command("organisation", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_people_may_what_their_role_says(charlie: User, bob: User) -> None:
    organisation_command("create", "team", "--owner", "charlie")
    facts = organisation_command("add", "TEAM", "bob", "--role", "writer")
    assert facts["members"] == [{"user": "bob", "role": "writer"}, {"user": "charlie", "role": "owner"}]
    team = Organisation.objects.get(name="team")
    repo = record_commit("team/x", {"x": b"x"}, organisation=team).repo
    assert [may_own(charlie, repo), may_own(bob, repo), may_write(bob, repo)] == [True, False, True]
    organisation_command("add", "team", "bob")
    assert [may_write(bob, repo), may_create_in(bob, team)] == [False, False]
    assert Event.objects.filter(summary="bob is reader of team").exists()


def test_people_leave_and_empty_organisations_go(alice: User, bob: User, organisation: Organisation) -> None:
    assert organisation_command("remove", "acme", "bob")["members"] == [{"user": "alice", "role": "owner"}]
    with pytest.raises(CommandError, match="bob is not in acme"):
        organisation_command("remove", "acme", "bob")
    repo = record_commit("acme/x", {"x": b"x"}, organisation=organisation).repo
    with pytest.raises(CommandError, match=r"has 1 repos\. Move or delete them"):
        organisation_command("remove", "acme")
    repo.organisation = None
    repo.save(update_fields=["organisation"])
    organisation_command("remove", "acme")
    assert organisation_command("list") == []


@pytest.mark.parametrize(("arguments", "complaint"), [
    (["create", "api"], "a page of this service"), (["create", "a--b"], "cannot be the name"),
    (["create", "Acme"], "already"), (["create", "new", "--owner", "nobody"], "no user 'nobody'"),
    (["add", "none", "alice"], "no organisation 'none'"), (["list", "none"], "organisation create none"),
])  # fmt: skip
@pytest.mark.usefixtures("alice")
def test_what_cannot_be_is_refused_with_a_remedy(arguments: list[str], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        organisation_command(*arguments)


def test_the_list_is_a_line_each(alice: User, bob: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("organisation", "list")
    assert capsys.readouterr().out == "acme: 0 repos; alice (owner), bob (reader)\n"
