"""Who may see and do what."""

import pytest
from django.contrib.auth.models import AnonymousUser, User

from registry.access import may_operate, may_read_files, readable_repos, visible_repos
from registry.models import Organisation, Repo, Upstream


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


@pytest.fixture
def gated(repos: None, organisation: Organisation) -> None:
    upstream = Upstream.objects.create(kind="huggingface", endpoint="https://hub.example.org")
    here = {"namespace": "acme", "gated": "manual"}
    Repo.objects.create(repo_id="acme/gated", name="gated", organisation=organisation, **here)
    Repo.objects.create(repo_id="acme/hidden", name="hidden", organisation=organisation, private=True, **here)
    Repo.objects.create(repo_id="acme/nobodys", name="nobodys", **here)
    Repo.objects.create(
        repo_id="acme/mirror", name="mirror", organisation=organisation, upstream=upstream, **here
    )


def test_files_of_gated_repos_are_for_members_and_those_of_gated_mirrors_for_accounts(
    gated: None, bob: User, charlie: User
) -> None:
    def readable(user: User | AnonymousUser) -> set[str]:
        return set(readable_repos(user).values_list("name", flat=True))

    assert readable(AnonymousUser()) == {"open"}
    assert readable(charlie) == {"open", "nobodys", "mirror"}
    assert readable(bob) == {"open", "secret", "gated", "hidden", "nobodys", "mirror"}


def test_one_rule_says_who_reads_one_repo_and_which_repos(gated: None, alice: User, charlie: User) -> None:
    admin = User.objects.create_superuser("root")
    for user in (alice, charlie, admin, AnonymousUser()):
        one_by_one = {repo for repo in visible_repos(user) if may_read_files(user, repo)}
        assert set(readable_repos(user)) == one_by_one
