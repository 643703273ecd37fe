"""The admin: usable for what has no page, and unable to rewrite history."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client

from registry.models import AccessToken, Event, Organisation, Repo, Upstream
from tests.registry.views.seed import make_family, make_private

pytestmark = pytest.mark.django_db

TABLES = sorted(
    model._meta.model_name or "" for model in admin.site._registry if model._meta.app_label == "registry"
)


@pytest.fixture
def operator(client: Client, alice: User) -> Client:
    User.objects.filter(pk=alice.pk).update(is_superuser=True)
    client.force_login(alice)
    return client


@pytest.mark.parametrize("table", TABLES)
def test_every_table_can_be_listed_searched_and_looked_into(
    operator: Client, alice: User, table: str
) -> None:
    make_family()
    AccessToken.issue(alice, name="shell")
    assert operator.get(f"/admin/registry/{table}/").status_code == 200
    assert operator.get(f"/admin/registry/{table}/?q=kelp").status_code in (200, 302)
    model = next(model for model in admin.site._registry if model._meta.model_name == table)
    if row := model._default_manager.first():
        assert operator.get(f"/admin/registry/{table}/{row.pk}/change/").status_code == 200


def test_history_and_bytes_can_be_neither_added_changed_nor_deleted(operator: Client) -> None:
    make_family()
    event = Event.objects.first()
    assert event is not None
    for table in (
        "event",
        "blob",
        "commit",
        "ref",
        "artifact",
        "validation",
        "job",
        "lineage",
        "recipe",
        "upstream",
    ):
        assert operator.get(f"/admin/registry/{table}/add/").status_code == 403, table
    assert operator.post(f"/admin/registry/event/{event.pk}/change/", {"summary": "no"}).status_code == 403
    assert operator.post(f"/admin/registry/event/{event.pk}/delete/", {"post": "yes"}).status_code == 403


def test_who_may_see_a_repo_is_set_here_and_what_is_in_it_is_not(
    operator: Client, organisation: Organisation
) -> None:
    repo = make_private(organisation)
    form = {"repo_id": "evil/name", "organisation": organisation.pk}  # `private` is not ticked
    assert operator.post(f"/admin/registry/repo/{repo.pk}/change/", form).status_code == 302
    repo = Repo.objects.get(pk=repo.pk)
    assert (repo.private, repo.repo_id) == (False, "acme/secret")
    assert operator.post(f"/admin/registry/repo/{repo.pk}/delete/", {"post": "yes"}).status_code == 403


def test_an_organisation_gets_its_members_here(operator: Client, charlie: User) -> None:
    members = {"members-TOTAL_FORMS": 1, "members-INITIAL_FORMS": 0, "members-0-user": charlie.pk,
               "members-0-role": "reader"}  # fmt: skip
    assert (
        operator.post("/admin/registry/organisation/add/", {"name": "new-lab"} | members).status_code == 302
    )
    assert Organisation.objects.get(name="new-lab").members.get().user == charlie


def test_a_token_shows_no_secret_and_can_be_taken_away(operator: Client, alice: User) -> None:
    row, secret = AccessToken.issue(alice, name="shell")
    page = operator.get(f"/admin/registry/accesstoken/{row.pk}/change/").content.decode()
    assert secret not in page
    assert row.digest not in page
    assert operator.post(f"/admin/registry/accesstoken/{row.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not AccessToken.objects.exists()


def test_staff_without_rights_and_strangers_get_nothing(client: Client, bob: User) -> None:
    for user in (None, bob):
        if user:
            client.force_login(user)
        assert client.get("/admin/registry/repo/").status_code == 302


def test_the_token_of_an_upstream_is_not_shown_even_sealed(operator: Client) -> None:
    row = Upstream.objects.create(
        kind="huggingface", endpoint="https://hub.example", sealed_token="gAAAAsealed"
    )
    for page in (f"{row.pk}/change/", ""):
        answer = operator.get(f"/admin/registry/upstream/{page}")
        assert answer.status_code == 200
        assert "gAAAAsealed" not in answer.content.decode()
