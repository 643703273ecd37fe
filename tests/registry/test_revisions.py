"""From the string a person gives to a commit."""

import pytest

from registry.models import Commit, Ref, Repo
from registry.revisions import RevisionNotFound, resolve_revision

pytestmark = pytest.mark.django_db
OLD, NEW = "a1" * 20, "a2" + "b0" * 19


@pytest.fixture
def repo() -> Repo:
    repo = Repo.objects.create(repo_id="org/model", namespace="org", name="model")
    old, new = (Commit.objects.create(repo=repo, commit_hash=digits) for digits in (OLD, NEW))
    Ref.objects.create(repo=repo, kind="branch", name="main", commit=new)
    Ref.objects.create(repo=repo, kind="tag", name="v1.0", commit=old)
    Ref.objects.create(repo=repo, kind="branch", name="feat/x", commit=old)
    Ref.objects.create(repo=repo, kind="tag", name="both", commit=old)
    Ref.objects.create(repo=repo, kind="branch", name="both", commit=new)
    Ref.objects.create(repo=repo, kind="pr", name="1", commit=old)
    return repo


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        ("main", NEW), ("v1.0", OLD), ("feat/x", OLD), (OLD, OLD), (OLD[:7], OLD), (NEW[:12], NEW),
        ("refs/heads/main", NEW), ("refs/tags/v1.0", OLD), ("both", NEW), ("refs/tags/both", OLD),
        ("refs/pr/1", OLD),
    ],
)  # fmt: skip
def test_a_name_or_a_hash_means_one_commit(repo: Repo, revision: str, expected: str) -> None:
    assert resolve_revision(repo, revision).commit_hash == expected


@pytest.mark.parametrize(
    "revision",
    [
        "",
        "nope",
        "a1",
        OLD[:6],
        OLD + "0",
        "refs/heads/v1.0",
        "0" * 40,
        OLD.upper(),
        "1",
        "refs/pr/2",
        "refs/heads/1",
    ],
)
def test_anything_else_is_refused_by_name(repo: Repo, revision: str) -> None:
    with pytest.raises(RevisionNotFound) as caught:
        resolve_revision(repo, revision)
    assert caught.value.revision == revision
    assert "org/model" in str(caught.value)


def test_an_ambiguous_short_hash_is_refused(repo: Repo) -> None:
    Commit.objects.create(repo=repo, commit_hash=OLD[:20] + "f" * 20)
    with pytest.raises(RevisionNotFound):
        resolve_revision(repo, OLD[:10])
    assert resolve_revision(repo, OLD[:21]).commit_hash == OLD


def test_a_commit_of_another_repo_is_not_found_here(repo: Repo) -> None:
    other = Repo.objects.create(repo_id="org/other", namespace="org", name="other")
    with pytest.raises(RevisionNotFound):
        resolve_revision(other, OLD)


def test_it_takes_at_most_two_queries(repo: Repo, django_assert_max_num_queries: object) -> None:
    with django_assert_max_num_queries(1):  # type: ignore[operator]
        resolve_revision(repo, "main").repo.repo_id  # noqa: B018  # the repo must not cost a query
    with django_assert_max_num_queries(2):  # type: ignore[operator]
        resolve_revision(repo, OLD)
