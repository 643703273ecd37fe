"""Pull requests are merged file by file, and what both sides changed is nobody's guess."""

import pytest
from django.contrib.auth.models import User

from mirror.committing import Change, Letter, make_commit, put_small, squash
from mirror.offering import (
    MergeConflict,
    NotOpen,
    change_status,
    conflicts_of,
    merge,
    offer,
    open_pull_request,
)
from mirror.store import blob_store
from registry.models import Commit, File, PullRequest, Ref, Repo
from tests.checkpoints import ensure_repo

HELLO = Letter("alice", "alice@example.org", "Hello")


def adding(path: str, data: bytes) -> Change:
    return Change(path, put_small(blob_store(), path, data))


def paths(commit: Commit) -> set[str]:
    return set(File.objects.filter(commit=commit).values_list("path", flat=True))


@pytest.fixture
def repo(db: None) -> Repo:
    made = ensure_repo("acme/tiny")
    make_commit(made, [adding("a", b"a"), adding("b", b"b")], HELLO)
    return made


def head(repo: Repo, name: str = "main") -> Commit:
    return Ref.objects.get(repo=repo, name=name).commit


def offered(repo: Repo, user: User, *changes: Change) -> PullRequest:
    return offer(user, repo, head(repo), changes, Letter.of(user, "Offer"))[0]


def test_a_branch_that_stood_still_moves_forward(repo: Repo, alice: User) -> None:
    one = offered(repo, alice, adding("c", b"c"))
    assert merge(alice, one) == head(repo, "1") == head(repo)
    one.refresh_from_db()
    assert (one.status, one.merge_commit) == ("merged", head(repo).commit_hash)


def test_what_only_one_side_changed_is_taken_from_it(repo: Repo, alice: User) -> None:
    one = offered(repo, alice, Change("a"), adding("theirs", b"t"))
    make_commit(repo, [adding("ours", b"o"), Change("b")], HELLO)
    before = head(repo)
    merged = merge(alice, one)
    assert merged.parents == [before.commit_hash, head(repo, "1").commit_hash]
    assert paths(merged) == {"ours", "theirs"}


def test_what_both_changed_differently_is_a_conflict_and_changes_nothing(repo: Repo, alice: User) -> None:
    one = offered(repo, alice, adding("a", b"theirs"), adding("same", b"s"))
    ours = make_commit(repo, [adding("a", b"ours"), adding("same", b"s")], HELLO)
    assert conflicts_of(one) == ["a"]
    with pytest.raises(MergeConflict, match="both changed a"):
        merge(alice, one)
    assert head(repo) == ours
    make_commit(repo, [adding("a", b"ours")], HELLO, branch="1", kind=Ref.Kind.PULL_REQUEST)
    assert paths(merge(alice, one)) == {"a", "b", "same"}


def test_what_is_over_stays_so(repo: Repo, alice: User) -> None:
    one = offered(repo, alice, adding("c", b"c"))
    change_status(alice, one, "closed")
    with pytest.raises(NotOpen, match="is closed"):
        merge(alice, one)
    change_status(alice, one, "open")
    merge(alice, one)
    with pytest.raises(NotOpen, match="is merged"):
        change_status(alice, one, "open")


def test_numbers_begin_at_one_and_an_offer_of_nothing_still_stands(repo: Repo, alice: User) -> None:
    first = offered(repo, alice, adding("a", b"a"))  # as it is already
    second = open_pull_request(alice, repo, "Draft", "")
    assert (first.number, second.number, second.status) == (1, 2, "draft")
    assert head(repo, "1") == head(repo, "2") == head(repo)


def test_a_squashed_branch_has_the_same_files_and_no_past(repo: Repo, alice: User) -> None:
    make_commit(repo, [adding("c", b"c")], HELLO)
    old = head(repo)
    made = squash(repo, Ref.objects.get(repo=repo, name="main"), HELLO)
    assert (made.parents, paths(made), head(repo)) == ([], paths(old), made)
    assert Commit.objects.filter(pk=old.pk).exists()
