"""A repo that is moved is found under both names, by people and in the bucket."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from mirror.committing import Change, Letter, make_commit, put_small
from mirror.creating import create_repo
from mirror.deleting import delete_repo
from mirror.fixity.manifests import check_manifests
from mirror.fixity.report import Report
from mirror.moving import move_repo
from mirror.store import blob_store
from registry.models import Event, FormerName, Lineage, Organisation, Repo
from registry.namespaces import BadName
from registry.repos import RepoExists, find_moved
from tests.checkpoints import record_commit

Go = Callable[..., Repo]


@pytest.fixture
def repo(alice: User, organisation: Organisation) -> Repo:
    return create_repo(blob_store(), alice, organisation, "old", repo_type="model", private=False)


@pytest.fixture
def go(alice: User, django_capture_on_commit_callbacks: Any) -> Go:
    """Alice moves a repo to a name, and perhaps to another organisation."""

    def moved(repo: Repo, name: str, organisation: Organisation | None = None) -> Repo:
        home = organisation or Organisation.objects.get(pk=repo.organisation_id)
        with django_capture_on_commit_callbacks(execute=True):
            return move_repo(blob_store(), alice, repo, home, name)

    return moved


def faults() -> list[str]:
    """What an audit finds wrong with the manifests."""
    report = Report()
    list(check_manifests(blob_store(), report, quick=False, on_progress=lambda *_: None))
    return [finding.code for finding in report.findings]


def test_the_manifests_move_with_it(go: Go, repo: Repo) -> None:
    moved = go(repo, "new")
    assert moved.repo_id == "acme/new"
    [stat] = blob_store().list("commits/")
    assert stat.key.startswith("commits/acme/new/")
    assert json.loads(blob_store().read(stat.key))["repo_id"] == "acme/new"
    assert faults() == []
    assert Event.objects.filter(repo=repo, summary="moved acme/old to acme/new", agent="alice").exists()


def test_a_name_can_be_taken_back_and_given_to_another(
    go: Go, alice: User, repo: Repo, organisation: Organisation
) -> None:
    go(repo, "new")
    assert find_moved(alice, "model", "ACME/old") == repo
    back = go(Repo.objects.get(), "old")
    assert [former.old_repo_id for former in FormerName.objects.all()] == ["acme/new"]
    go(back, "third")
    other = create_repo(blob_store(), alice, organisation, "old", repo_type="model", private=False)
    assert {former.old_repo_id for former in FormerName.objects.all()} == {"acme/new"}
    go(other, "new")  # onto a former name of the first
    assert find_moved(alice, "model", "acme/old") == other
    assert Repo.objects.by_id("acme/new").get() == other
    assert faults() == []


def test_only_the_case_of_letters_may_change(go: Go, repo: Repo) -> None:
    assert go(repo, "OLD").repo_id == "acme/OLD"
    assert not FormerName.objects.exists()
    assert faults() == []
    assert Repo.objects.by_id("acme/old").get().name == "OLD"


def test_it_may_go_to_another_organisation(go: Go, repo: Repo) -> None:
    other = Organisation.objects.create(name="other")
    moved = go(repo, "old", other)
    assert (moved.repo_id, moved.organisation) == ("other/old", other)


def test_taken_and_bad_names_change_nothing(go: Go, repo: Repo) -> None:
    record_commit("acme/taken", {"x": b"x"})
    with pytest.raises(RepoExists, match="A model repository called 'acme/taken' already exists"):
        go(repo, "Taken")
    with pytest.raises(BadName):
        go(repo, "a--b")
    assert Repo.objects.get(pk=repo.pk).repo_id == "acme/old"
    assert faults() == ["manifest-missing"]  # of the one that was recorded without


def test_lineage_that_we_vouch_for_knows_the_new_name(go: Go, repo: Repo) -> None:
    child = record_commit("acme/child", {"x": b"x"}).repo
    edge = {"child": child, "parent": repo, "parent_repo_id": "acme/old"}
    Lineage.objects.create(**edge, relation="quantized", evidence="made_here")
    Lineage.objects.create(**edge, relation="quantized", evidence="declared")
    go(repo, "new")
    assert dict(Lineage.objects.values_list("evidence", "parent_repo_id")) == {
        "made_here": "acme/new", "declared": "acme/old",
    }  # fmt: skip


def test_a_deleted_repo_gives_up_all_its_names(
    go: Go, alice: User, repo: Repo, django_capture_on_commit_callbacks: Any
) -> None:
    moved = go(repo, "new")
    with django_capture_on_commit_callbacks(execute=True):
        delete_repo(blob_store(), alice, moved)
    assert not FormerName.objects.exists()
    assert list(blob_store().list("commits/")) == []


def test_a_commit_under_way_lands_under_the_new_name(go: Go, alice: User, repo: Repo) -> None:
    go(Repo.objects.get(pk=repo.pk), "new")
    assert repo.repo_id == "acme/old"  # what the committer still believes
    change = Change("a", put_small(blob_store(), "a", b"a"))
    commit = make_commit(repo, [change], Letter.of(alice, "Add a"))
    assert commit.repo.repo_id == "acme/new"
    assert [stat.key for stat in blob_store().list("commits/acme/old/")] == []
    assert faults() == []
