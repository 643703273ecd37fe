"""A pack of many files is made in little memory, and only of what the client lacks and may have."""

import random
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mirror.git import packing
from mirror.git.answering import plan_pack
from mirror.git.asking import Fetch, Refused
from mirror.git.history import History
from mirror.git.packing import Pack
from registry import git
from registry.models import Blob, Commit, File
from tests.checkpoints import FIRST_DAY, record_commit, store_blob
from tests.mirror.git.conftest import Git

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]

N_FILES, N_FOLDERS, N_CONTENTS, CONTENT_BYTES = 5000, 50, 16, 1_000_000
MOST_MEMORY_BYTES = 12 << 20


def commit_of_many_files() -> Commit:
    """5,000 files in 50 folders, which share 16 contents of a megabyte each."""
    noise = random.Random(1)
    blobs = [store_blob(noise.randbytes(1000) * (CONTENT_BYTES // 1000)) for _ in range(N_CONTENTS)]
    held = {f"part {n % N_FOLDERS}/é-{n}.txt": blobs[n % N_CONTENTS] for n in range(N_FILES)}
    tree = git.tree_oid({path: str(blob.git_oid) for path, blob in held.items()})
    body = git.commit_object(tree, author=git.Signature("A", "a@example.org", FIRST_DAY), message="Many")
    commit = record_commit("acme/many", {}, commit_hash=git.commit_object_oid(body), git_object=body)
    File.objects.bulk_create(
        File(commit=commit, path=path, blob=blob, size_bytes=blob.size_bytes, git_oid=str(blob.git_oid))
        for path, blob in held.items()
    )
    return commit


def planned(commit: Commit, **asked: Any) -> Pack:
    history, fetch = History(commit.repo), Fetch(**{"wants": [commit.commit_hash]} | asked)
    return plan_pack(history, fetch, history.select(fetch))


def count(commit: Commit, **asked: Any) -> int:
    with planned(commit, **asked) as pack:
        return pack.n_objects


@pytest.mark.one_backend
def test_five_thousand_files_are_packed_in_little_memory(git: Git, tmp_path: Path) -> None:
    commit = commit_of_many_files()
    with (tmp_path / "many.pack").open("wb") as file:
        tracemalloc.start()
        try:
            with planned(commit) as pack:
                for chunk in pack.chunks():
                    file.write(chunk)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < MOST_MEMORY_BYTES < N_CONTENTS * CONTENT_BYTES
    assert pack.n_objects == 1 + 1 + N_FOLDERS + N_CONTENTS
    git("init", "-q", "--bare", "repo")
    git("index-pack", "--strict", "--stdin", at=tmp_path / "repo", stdin=tmp_path / "many.pack")
    assert git.is_sound(tmp_path / "repo")
    assert (
        git("ls-tree", "-r", "--name-only", "-z", commit.commit_hash, at=tmp_path / "repo").count("\0")
        == N_FILES
    )


def test_a_client_gets_what_its_own_commits_do_not_have() -> None:
    first = record_commit("acme/tiny", {"a/x.txt": b"x", "b/y.txt": b"y"})
    second = record_commit("acme/tiny", {"a/x.txt": b"x", "b/y.txt": b"new"})
    assert count(second) == 2 + 3 + 2 + 3  # commits, folders, their changed ones, files
    assert count(second, haves=[first.commit_hash]) == 1 + 2 + 1
    assert count(second, haves=[first.commit_hash], filter="blob:none") == 1 + 2
    assert count(second, filter="tree:0") == 2
    assert count(second, haves=[second.commit_hash]) == 0


def test_what_is_not_in_the_repo_is_not_given() -> None:
    other = record_commit("acme/other", {"secret.txt": b"secret"})
    mine = record_commit("acme/mine", {"a.txt": b"a"})
    for oid in (other.commit_hash, git.git_blob_oid(b"secret"), git.tree_oid({}), "f" * 40):
        with pytest.raises(Refused, match=f"not our ref {oid}"):
            count(mine, wants=[mine.commit_hash, oid])
    late = record_commit("acme/mine", {"late.txt": b"late"}, is_complete=False)
    for oid in (late.commit_hash, git.git_blob_oid(b"late")):
        with pytest.raises(Refused, match="not our ref"):
            count(mine, wants=[oid])


def test_a_file_that_is_known_to_be_broken_stops_the_plan() -> None:
    commit = record_commit("acme/tiny", {"a.txt": b"a"})
    Blob.objects.update(state=Blob.State.DAMAGED)
    with pytest.raises(Refused, match=r"'a\.txt' is damaged here"):
        count(commit)


def test_a_plan_that_grows_too_large_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = record_commit("acme/tiny", {f"{number}.txt": b"%d" % number for number in range(12)})
    for limit, value in (("MOST_OBJECTS", 10), ("MOST_FILES_READ", 10), ("MOST_SPOOLED_BYTES", 10)):
        with monkeypatch.context() as patch:
            patch.setattr(packing, limit, value)
            with pytest.raises(Refused, match="clone with --depth 1"):
                count(commit)


def test_an_object_is_made_again_from_the_row_of_a_commit_made_here() -> None:
    when = {"author": "Holdfast", "committed_at": FIRST_DAY}
    author = git.Signature("Holdfast", "holdfast@localhost", FIRST_DAY)
    body = git.commit_object(git.tree_oid({}), author=author, message="Add files")
    hash_ = git.commit_object_oid(body)
    commit = record_commit("acme/old", {}, commit_hash=hash_, git_object=None, **when)
    assert list(History(commit.repo).nodes) == [hash_]
    commit.refresh_from_db()
    assert bytes(commit.git_object) == body
