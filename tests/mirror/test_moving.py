"""A repo that is moved is found under both names, by people and in the bucket."""

import json

import pytest
from django.contrib.auth.models import User

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

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def repo(alice: User, organisation: Organisation) -> Repo:
    return create_repo(blob_store(), alice, organisation, "old", repo_type="model", private=False)


def go(user: User, repo: Repo, name: str, organisation: Organisation | None = None) -> Repo:
    assert organisation or repo.organisation
    return move_repo(blob_store(), user, repo, organisation or repo.organisation, name)  # type: ignore[arg-type]


def faults() -> list[str]:
    """What an audit finds wrong with the manifests."""
    report = Report()
    list(check_manifests(blob_store(), report, quick=False, on_progress=lambda *_: None))
    return [finding.code for finding in report.findings]


def test_the_manifests_move_with_it(alice: User, repo: Repo) -> None:
    moved = go(alice, repo, "new")
    assert moved.repo_id == "acme/new"
    [stat] = blob_store().list("commits/")
    assert stat.key.startswith("commits/acme/new/")
    assert json.loads(blob_store().read(stat.key))["repo_id"] == "acme/new"
    assert faults() == []
    assert Event.objects.filter(repo=repo, summary="moved acme/old to acme/new", agent="alice").exists()


def test_a_name_can_be_taken_back_and_given_to_another(
    alice: User, repo: Repo, organisation: Organisation
) -> None:
    go(alice, repo, "new")
    assert find_moved(alice, "model", "ACME/old") == repo
    back = go(alice, Repo.objects.get(), "old")
    assert [former.old_repo_id for former in FormerName.objects.all()] == ["acme/new"]
    go(alice, back, "third")
    other = create_repo(blob_store(), alice, organisation, "old", repo_type="model", private=False)
    assert {former.old_repo_id for former in FormerName.objects.all()} == {"acme/new"}
    go(alice, other, "new")  # onto a former name of the first
    assert find_moved(alice, "model", "acme/old") == other
    assert Repo.objects.by_id("acme/new").get() == other
    assert faults() == []


def test_only_the_case_of_letters_may_change(alice: User, repo: Repo) -> None:
    assert go(alice, repo, "OLD").repo_id == "acme/OLD"
    assert not FormerName.objects.exists()
    assert faults() == []
    assert Repo.objects.by_id("acme/old").get().name == "OLD"


def test_it_may_go_to_another_organisation(alice: User, repo: Repo) -> None:
    other = Organisation.objects.create(name="other")
    moved = go(alice, repo, "old", other)
    assert (moved.repo_id, moved.organisation) == ("other/old", other)


def test_taken_and_bad_names_change_nothing(alice: User, repo: Repo) -> None:
    record_commit("acme/taken", {"x": b"x"})
    with pytest.raises(RepoExists, match="A model repository called 'acme/taken' already exists"):
        go(alice, repo, "Taken")
    with pytest.raises(BadName):
        go(alice, repo, "a--b")
    assert Repo.objects.get(pk=repo.pk).repo_id == "acme/old"
    assert faults() == ["manifest-missing"]  # of the one that was recorded without


def test_lineage_that_we_vouch_for_knows_the_new_name(alice: User, repo: Repo) -> None:
    child = record_commit("acme/child", {"x": b"x"}).repo
    edge = {"child": child, "parent": repo, "parent_repo_id": "acme/old"}
    Lineage.objects.create(**edge, relation="quantized", evidence="made_here")
    Lineage.objects.create(**edge, relation="quantized", evidence="declared")
    go(alice, repo, "new")
    assert dict(Lineage.objects.values_list("evidence", "parent_repo_id")) == {
        "made_here": "acme/new", "declared": "acme/old",
    }  # fmt: skip


def test_a_deleted_repo_gives_up_all_its_names(alice: User, repo: Repo) -> None:
    delete_repo(blob_store(), alice, go(alice, repo, "new"))
    assert not FormerName.objects.exists()
    assert list(blob_store().list("commits/")) == []
