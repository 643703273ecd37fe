"""Who may see and do what."""

import pytest
from django.contrib.auth.models import AnonymousUser, User

from registry.access import may_operate, visible_repos
from registry.models import Organisation, Repo


@pytest.fixture
def repos(organisation: Organisation) -> None:
    Repo.objects.create(repo_id="acme/open", namespace="acme", name="open", organisation=organisation)
    Repo.objects.create(
        repo_id="acme/secret", namespace="acme", name="secret", organisation=organisation, private=True
    )
    Repo.objects.create(repo_id="lost/private", namespace="lost", name="private", private=True)


def seen_by(user: User | AnonymousUser) -> set[str]:
    return set(visible_repos(user).values_list("repo_id", flat=True))


def test_members_see_the_private_repos_of_their_organisation(repos: None, alice: User, bob: User) -> None:
    assert seen_by(alice) == seen_by(bob) == {"acme/open", "acme/secret"}


def test_strangers_see_what_is_public(repos: None, charlie: User) -> None:
    assert seen_by(charlie) == seen_by(AnonymousUser()) == {"acme/open"}


def test_a_superuser_sees_everything(repos: None, charlie: User) -> None:
    charlie.is_superuser = True
    assert len(seen_by(charlie)) == 3


def test_only_staff_may_operate(alice: User, bob: User, charlie: User) -> None:
    assert may_operate(alice)
    assert not any(may_operate(user) for user in (bob, charlie, AnonymousUser()))
