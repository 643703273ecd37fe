"""Changes become a commit: the id is git's, nobody's file is lost, and what is refused leaves nothing behind."""

import hashlib
import json
import threading
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection

from mirror.blobs.keys import COMMITS
from mirror.blobs.store import blob_key
from mirror.committing import (
    BranchMoved,
    BytesGone,
    Change,
    Entry,
    EntryMissing,
    Letter,
    PathConflict,
    make_commit,
    put_small,
)
from mirror.store import blob_store
from registry.git import lfs_pointer_oid
from registry.models import Blob, Commit, Event, File, Job, Ref, Repo
from tests.checkpoints import ensure_repo

ALICE = Letter("alice", "alice@example.org", "Add weights", "They are good.")


@pytest.fixture
def repo(db: None) -> Repo:
    return ensure_repo("acme/tiny")


def adding(path: str, data: bytes) -> Change:
    return Change(path, put_small(blob_store(), path, data))


def content(commit: Commit) -> dict[str, bytes]:
    files = File.objects.filter(commit=commit).select_related("blob")
    return {file.path: blob_store().read(blob_key(file.held.sha256)) for file in files}


def test_the_id_of_a_commit_is_the_hash_of_the_git_object_that_it_keeps(repo: Repo, alice: User) -> None:
    commit = make_commit(repo, [adding("a/b.txt", b"b")], Letter.of(alice, "Add b", "Because."))
    body = bytes(commit.git_object or b"")
    assert commit.commit_hash == hashlib.sha1(b"commit %d\0" % len(body) + body).hexdigest()
    assert body.endswith(b"\n\nAdd b\n\nBecause.\n")
    assert b"author alice <alice@example.org> " in body
    assert (commit.title, commit.message, commit.author) == ("Add b", "Add b\n\nBecause.", "alice")


def test_a_commit_leaves_manifest_head_event_and_inspection_behind(repo: Repo) -> None:
    first = make_commit(repo, [adding("README.md", b"# Tiny\n")], ALICE)
    second = make_commit(repo, [adding("b", b"b")], ALICE)
    repo.refresh_from_db()
    assert repo.head == second
    assert second.parents == [first.commit_hash]
    manifest = json.loads(blob_store().read(second.manifest_key))
    assert [file["path"] for file in manifest["files"]] == ["README.md", "b"]
    assert Event.objects.filter(commit=second, type="ingestion", summary__contains="alice committed").exists()
    assert Job.objects.filter(kind="inspect", params={"commit": second.pk}).exists()


def test_changes_are_made_in_their_order_and_only_to_what_they_name(repo: Repo) -> None:
    make_commit(repo, [adding("keep", b"k"), adding("old/a", b"a"), adding("old/b", b"b")], ALICE)
    changes = [Change("old", is_folder=True), adding("old", b"a file now"), adding("keep", b"K")]
    assert content(make_commit(repo, changes, ALICE)) == {"keep": b"K", "old": b"a file now"}


def test_changes_that_change_nothing_make_no_commit(repo: Repo) -> None:
    first = make_commit(repo, [adding("a", b"a")], ALICE)
    assert make_commit(repo, [adding("a", b"a")], ALICE) == first
    assert Commit.objects.count() == 1


def test_what_is_refused_leaves_nothing_behind(repo: Repo) -> None:
    first = make_commit(repo, [adding("a", b"a")], ALICE)
    with pytest.raises(EntryMissing, match="'b' does not exist in acme/tiny"):
        make_commit(repo, [Change("b")], ALICE)
    with pytest.raises(EntryMissing):
        make_commit(repo, [Change("folder/", is_folder=True)], ALICE)
    with pytest.raises(PathConflict, match="'a' is a file there"):
        make_commit(repo, [adding("a/b", b"b")], ALICE)
    with pytest.raises(BranchMoved, match="The branch was updated since you opened this page"):
        make_commit(repo, [adding("c", b"c")], ALICE, parent="0" * 40)
    assert Commit.objects.get() == first
    assert len(list(blob_store().list(COMMITS))) == 1


def test_the_start_of_the_parents_hash_is_enough(repo: Repo) -> None:
    first = make_commit(repo, [adding("a", b"a")], ALICE)
    second = make_commit(repo, [adding("b", b"b")], ALICE, parent=first.commit_hash[:7])
    assert second.parents == [first.commit_hash]


def test_bytes_that_the_sweeper_took_meanwhile_are_not_named_by_a_commit(repo: Repo) -> None:
    sha256 = hashlib.sha256(b"gone").hexdigest()
    gone = Change("w.bin", Entry("w.bin", sha256, 4, lfs_pointer_oid(sha256, 4), is_lfs=True))
    with pytest.raises(BytesGone, match=r"w\.bin"):
        make_commit(repo, [gone], ALICE)
    assert not Commit.objects.exists()
    assert not Blob.objects.exists()
    assert not list(blob_store().list(COMMITS))


def test_bytes_that_come_back_are_present_again(repo: Repo) -> None:
    make_commit(repo, [adding("a", b"a")], ALICE)
    blob = Blob.objects.get()
    blob_store().delete(blob_key(blob.sha256))
    Blob.objects.update(state=Blob.State.MISSING)
    make_commit(repo, [adding("copy", b"a")], ALICE)
    assert Blob.objects.get().state == Blob.State.PRESENT


@pytest.mark.django_db(transaction=True)
def test_committers_on_one_branch_at_once_all_land(tmp_path: Path) -> None:
    repo = ensure_repo("acme/tiny")
    make_commit(repo, [adding("first", b"1")], ALICE)
    problems: list[BaseException] = []

    def commit(number: int) -> None:
        try:
            make_commit(repo, [adding(f"file-{number}", b"%d" % number)], ALICE)
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    head = Ref.objects.get(repo=repo, name="main").commit
    assert sorted(content(head)) == sorted(["first", *(f"file-{number}" for number in range(6))])
    assert Commit.objects.count() == len(list(blob_store().list(COMMITS))) == 7
